"""Finished runs by method: those that differ in nothing but their seed are one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from kd_deploy.finished import TEACHER, Finished, shown
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.metrics import TRIMAP_WIDTHS

TRIMAP = 4
"""The width that tables and plots show, in pixels: a cell of logits at stride 4; annotators differ by less."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of several seeds; one seed has no deviation."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(mean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Group:
    """A method: the runs that differ in their seed alone, in the order of the seeds.

    Attributes:
        name: its terms, and what tells it from another group of the same terms.
        gap_closed: percent of the mIoU gap between the student alone and the teacher; None where one is missing.
        boundary_gain: points of boundary IoU over the student alone.
        cost: seconds a step over those of the student alone.
    """

    name: str
    runs: tuple[Finished, ...]
    gap_closed: float | None = None
    boundary_gain: float | None = None
    cost: float | None = None

    @property
    def method(self) -> str:
        return self.runs[0].method

    def spread(self, key: str) -> Spread:
        """Of a number in summary.json: miou, boundary_iou, seconds_per_step, seconds."""
        return Spread.of([float(run.summary[key]) for run in self.runs])

    def trimap(self, width: int) -> Spread | None:
        """Of the IoU within `width` pixels of a boundary; None where a run of the group does not know its own."""
        scores = [run.trimap_iou[width] for run in self.runs if width in run.trimap_iou]
        return Spread.of(scores) if len(scores) == len(self.runs) else None

    def mean(self, key: str) -> float:
        return self.spread(key).mean

    def to_json(self) -> dict[str, Any]:
        kept = ("seed", "miou", "boundary_iou", "trimap_iou", "seconds_per_step", "seconds", "device")
        trimaps = {width: self.trimap(width) for width in TRIMAP_WIDTHS}
        return {
            "name": self.name,
            "role": self.runs[0].run.role,
            "terms": self.runs[0].terms,
            "n": len(self.runs),
            "miou": asdict(self.spread("miou")),
            "boundary_iou": asdict(self.spread("boundary_iou")),
            "trimap_iou": {str(width): spread and asdict(spread) for width, spread in trimaps.items()},
            "gap_closed": self.gap_closed,
            "boundary_gain": self.boundary_gain,
            "seconds_per_step": self.mean("seconds_per_step"),
            "cost": self.cost,
            "seconds": self.mean("seconds"),
            "runs": [
                {"run": str(run.path)} | {key: run.summary.get(key) for key in kept} for run in self.runs
            ],
        }


def by_method(runs: Iterable[Finished]) -> list[Group]:
    """The groups of `runs`, not yet measured by each other.

    Raises:
        UserError: one seed of a method twice.
    """
    groups: dict[str, list[Finished]] = defaultdict(list)
    for run in runs:
        groups[repr(sorted(run.settings.items()))].append(run)
    seeded = [sorted(group, key=lambda run: run.seed) for group in groups.values()]
    for one, other in (pair for group in seeded for pair in pairwise(group)):
        if one.seed == other.seed and one.method != TEACHER:
            raise UserError(
                f"{other.path}: is seed {other.seed} of {other.method}, and so is {one.path}; give one of them"
            )
    first = [group[0] for group in seeded]
    return [Group(_name(group[0], first), tuple(group)) for group in seeded]


def _name(run: Finished, others: Sequence[Finished]) -> str:
    """The method, and of several groups of one method what differs between them."""
    rivals = [other.settings for other in others if other.method == run.method]
    keys = dict.fromkeys(key for settings in rivals for key in settings)
    differing = [key for key in keys if any(r.get(key) != rivals[0].get(key) for r in rivals)]
    pairs = ((key, run.settings[key]) for key in differing if key in run.settings)
    details = ", ".join(f"{key.removeprefix(f'{run.method}.')}={shown(value)}" for key, value in pairs)
    return f"{run.method} ({details})" if details else run.method
