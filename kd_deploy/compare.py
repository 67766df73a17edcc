"""Compare methods over their seeds, against the student alone and the teacher."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from kd_deploy.finished import ABSENT, ALONE, TEACHER, Finished, difference, find_teacher, shown
from kd_deploy.groups import TRIMAP, Group, by_method
from kd_deploy.runtime.errors import UserError

_BESIDE = ("train.", "teacher", "ce.class_weights", "ce.ohem", "ce.auxiliary")
"""Settings that are no distillation term (the weight of ce plays it against the terms, and belongs to them)."""


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        groups: the teachers, the students alone, then the distilled ones, the best first.
        baseline: the student alone that the others are measured by: of several the best.
        settings: what all share, flat: data, evaluation, student, budget.
        notes: what a reader must know of these numbers, a line each.
    """

    groups: list[Group]
    baseline: Group | None
    settings: dict[str, Any]
    notes: list[str]

    def of(self, method: str) -> list[Group]:
        return [group for group in self.groups if group.method == method]

    def to_json(self) -> dict[str, Any]:
        """What `compare --json` prints: scores in points, shares in percent, null for what cannot be said."""
        return {
            "settings": self.settings,
            "baseline": self.baseline and self.baseline.name,
            "groups": [group.to_json() for group in self.groups],
            "notes": self.notes,
        }


def compare(paths: Iterable[Path]) -> Comparison:
    """Group finished runs by method; their teachers are added where they are still to be found.

    Raises:
        UserError: no run, an unfinished one, one seed of a method twice, or runs that are not comparable: of other
            data, another evaluation, another student or another budget.
    """
    given = [Finished.open(path) for path in {path.resolve(): path for path in paths}.values()]
    _check_comparable(given)
    teachers, notes = _teachers(given)
    groups = by_method({run.path.resolve(): run for run in (*given, *teachers.values())}.values())
    baseline = max((g for g in groups if g.method == ALONE), key=lambda g: g.mean("miou"), default=None)
    measured = [_measure(group, baseline, _teacher_miou(group, groups, teachers)) for group in groups]
    settings = next((run.scored | run.budget for run in given if run.method != TEACHER), given[0].scored)
    return Comparison(
        groups=sorted(measured, key=_order),
        baseline=baseline,
        settings=settings,
        notes=[*notes, *_missing(measured, baseline), *_differences(groups), *_machines(groups)],
    )


def gap_closed(teacher: float, alone: float, distilled: float) -> float | None:
    """Percent of the mIoU gap between the student alone and its teacher that distillation closes.

    None where the teacher is no better than the student alone: there is no gap to close.
    """
    return 100.0 * (distilled - alone) / (teacher - alone) if teacher > alone else None


def _check_comparable(runs: Sequence[Finished]) -> None:
    students = [run for run in runs if run.method != TEACHER]
    for key, several in (("scored", runs), ("budget", students)):
        for run in several[1:]:
            first = several[0]
            if found := difference(getattr(run, key), getattr(first, key)):
                raise UserError(f"{run.path}: {found} in {first.path}; compare only runs that share it")


def _teachers(given: Sequence[Finished]) -> tuple[dict[str, Finished], list[str]]:
    """The teachers that runs name, by that name, and what is to be said of those that cannot be used."""
    found: dict[str, Finished] = {}
    notes = []
    for source in dict.fromkeys(run.run.teacher for run in given):
        if source is None:
            continue
        student = next(run for run in given if run.run.teacher == source)
        run = find_teacher(student.run)
        try:
            teacher = Finished.open(run.path) if run else None
        except UserError as error:
            notes.append(f"teacher left out: {error}")
            continue
        if teacher is None:
            notes.append(f"teacher {source}: is no run that can be read here, so it adds no mIoU")
        elif other := difference(teacher.scored, student.scored):
            notes.append(f"teacher {source}: left out, its {other} in {student.path}")
        else:
            found[source] = teacher
    return found, notes


def _teacher_miou(group: Group, groups: Sequence[Group], teachers: dict[str, Finished]) -> float | None:
    """Of the teachers that taught this group, each once; where they are gone, of the only teacher there is."""
    named = {run.run.teacher: teachers[run.run.teacher] for run in group.runs if run.run.teacher in teachers}
    if named:
        return mean(teacher.miou for teacher in named.values())
    alone = [other for other in groups if other.method == TEACHER]
    return alone[0].mean("miou") if len(alone) == 1 else None


def _measure(group: Group, baseline: Group | None, teacher: float | None) -> Group:
    if baseline is None or group is baseline or group.method == TEACHER:
        return group
    alone = baseline.mean("miou")
    return replace(
        group,
        gap_closed=None if teacher is None else gap_closed(teacher, alone, group.mean("miou")),
        boundary_gain=group.mean("boundary_iou") - baseline.mean("boundary_iou"),
        cost=group.mean("seconds_per_step") / baseline.mean("seconds_per_step"),
    )


def _order(group: Group) -> tuple[int, float]:
    kind = {TEACHER: 0, ALONE: 1}.get(group.method, 2)
    return kind, -group.mean("miou")


def _missing(groups: Sequence[Group], baseline: Group | None) -> Iterable[str]:
    """Why numbers are left out."""
    students = [group for group in groups if group.method not in (TEACHER, ALONE)]
    if baseline is None:
        yield "no student alone among the runs, so no gap, gain or cost; kd-deploy train --role student makes one"
    elif unknown := [group.name for group in students if group.gap_closed is None]:
        yield f"no gap for {', '.join(unknown)}: the teacher is unknown, or no better than the student alone"
    if older := [group.name for group in groups if group.trimap(TRIMAP) is None]:
        yield f"no trimap IoU for {', '.join(older)}: not in summary.json; kd-deploy evaluate --json gives it"
    if any(len(group.runs) == 1 for group in groups if group.method != TEACHER):
        yield "one seed has no spread: a difference smaller than that of seeds says nothing"


def _differences(groups: Sequence[Group]) -> Iterable[str]:
    """Settings beside the terms in which the methods differ: they may explain a difference as well."""
    students = [group for group in groups if group.method != TEACHER]
    for key in dict.fromkeys(key for group in students for key in group.runs[0].settings):
        if key.startswith(_BESIDE):
            taught = [group for group in students if group.method != ALONE or not key.startswith("teacher")]
            yield from _apart(key, {group.name: group.runs[0].settings.get(key, ABSENT) for group in taught})


def _machines(groups: Sequence[Group]) -> Iterable[str]:
    devices = {
        group.name: " and ".join(sorted({_machine(run.summary) for run in group.runs})) for group in groups
    }
    for note in _apart("device", devices):
        yield f"{note}: seconds a step are of different machines"


def _machine(summary: dict[str, Any]) -> str:
    processes = summary.get("processes", 1)  # absent in older runs
    device = str(summary["device"])
    return device if processes == 1 else f"{processes} processes on {device}"


def _apart(key: str, values: dict[str, Any]) -> Iterable[str]:
    """ "KEY differs: A (this, that), B (another)", or nothing where all agree."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        names[shown(value)].append(name)
    if len(names) > 1:
        yield f"{key} differs: " + ", ".join(f"{value} ({', '.join(n)})" for value, n in names.items())
