"""A finished run as others judge it: what it scored, what makes its method, and what makes it comparable."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError

ALONE, TEACHER = "student alone", "teacher"

_NO_METHOD = {"seed", "workers", "log_every"}
"""Keys of `train` that make no method: the seed tells the runs of one apart, the rest changes no score."""

ABSENT = "absent"

_USED = ("miou", "boundary_iou", "seed", "seconds", "seconds_per_step", "images", "classes", "device")


@dataclass(frozen=True)
class Finished:
    """A run and its summary.json."""

    run: Run
    summary: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Finished:
        """Read a finished run.

        Raises:
            UserError: no run there, or one that is not finished, is damaged, or scored nothing.
        """
        run = Run.open(path)
        try:
            summary = run.summary()
            used = [summary[key] for key in _USED]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path / 'summary.json'}: is damaged ({error}); copy the run again") from error
        if None in used:
            raise UserError(f"{path}: has no mIoU, its val split holds no labels; leave it out")
        return cls(run, summary)

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def miou(self) -> float:
        return float(self.summary["miou"])

    @property
    def trimap_iou(self) -> dict[int, float]:
        """By width in pixels; empty where an older version wrote the summary."""
        scores = self.summary.get("trimap_iou", {})
        return {int(width): float(score) for width, score in scores.items() if score is not None}

    @property
    def seed(self) -> int:
        return int(self.summary["seed"])

    @property
    def terms(self) -> tuple[str, ...]:
        """The distillation terms, in the recipe's order; none where the labels alone taught."""
        return tuple(term.name for term in self.run.recipe.distill) if self.run.teacher else ()

    @property
    def method(self) -> str:
        """What the run is called where no other setting has to tell it from its rivals."""
        return TEACHER if self.run.role == "teacher" else " + ".join(self.terms) or ALONE

    @cached_property
    def scored(self) -> dict[str, Any]:
        """Flat: what makes two mIoUs comparable. The folder of the data may differ, its content may not."""
        recipe = self.run.recipe
        facts = {
            "data": recipe.data.model_dump(mode="json", exclude={"root", "cache"}),
            "evaluate": recipe.evaluate.model_dump(mode="json", exclude={"every"}),
            "images": self.summary["images"],
            "classes": ", ".join(self.summary["classes"]),
        }
        return _flat(facts)

    @cached_property
    def budget(self) -> dict[str, Any]:
        """Flat: what students must share, so that what differs between them is the method."""
        train = self.run.train.model_dump(mode="json", include={"iterations", "batch_size", "keep"})
        return _flat({"student": _network(self.run), "train": train})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Flat: everything that makes the method; the runs of one group share it."""
        trained = {"train": _training(self.run)}
        if self.run.role == "teacher":
            return _flat({"teacher": _network(self.run)} | trained)
        return _flat(self._objective() | trained | self._teacher())

    def _objective(self) -> dict[str, Any]:
        """The terms by name; the weight of cross-entropy plays it against a teacher, alone there is none."""
        unused = set() if self.terms else {"weight", "schedule"}
        objective = {"ce": self.run.recipe.supervised.model_dump(mode="json", exclude=unused)}
        for term in sorted(self.run.recipe.distill, key=lambda term: term.name) if self.terms else ():
            objective[term.name] = term.model_dump(mode="json", exclude={"method"})
        return objective

    def _teacher(self) -> dict[str, Any]:
        """Teachers of several seeds are one; of a teacher that is no run its name is all that is known."""
        if not self.terms:
            return {}
        run = find_teacher(self.run)
        precision = {"precision": self.run.recipe.teacher.precision}
        known = _network(run) | {"train": _training(run)} if run else {"source": self.run.teacher}
        return {"teacher": known | precision}


def find_teacher(run: Run) -> Run | None:
    """The run that taught `run`; None where nothing did, or what did is no run (any more)."""
    if run.teacher is None:
        return None
    source = Path(run.teacher)
    for folder in (source, source.parent):  # a run, or the weights inside it
        with suppress(UserError):
            return Run.open(folder)
    return None


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first key in which two flat settings differ, as "KEY is A against B"; None where they are equal."""
    for key in one | other:
        mine, its = one.get(key, ABSENT), other.get(key, ABSENT)
        if mine != its:
            return f"{key} is {shown(mine)} against {shown(its)}"
    return None


def shown(value: Any) -> str:
    """A setting for a reader: 4.0 is 4, and a size 120x160."""
    if isinstance(value, list):
        return "x".join(map(shown, value)) if all(isinstance(item, int) for item in value) else str(value)
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _network(run: Run) -> dict[str, Any]:
    return run.network.model_dump(mode="json", include={"arch", "encoder", "weights"})


def _training(run: Run) -> dict[str, Any]:
    return run.train.model_dump(mode="json", exclude=_NO_METHOD)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"train": {"lr": 1}} -> {"train.lr": 1}; a list is a value."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat
