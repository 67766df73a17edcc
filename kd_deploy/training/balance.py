"""`distill --dry-run`: what every term of a recipe weighs before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from kd_deploy.config.schema import Recipe
from kd_deploy.config.terms import Schedule, Supervised, TermSection
from kd_deploy.data.stream import Stream, loader
from kd_deploy.distill.objective import Part
from kd_deploy.progress import Progress
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import assemble
from kd_deploy.training.learner import Learner
from kd_deploy.training.train import teacher_source
from kd_deploy.training.verdict import NotFiniteError, explain

BATCHES = 4


@dataclass(frozen=True)
class Weighed:
    """One term, over a few batches; schedules are left out.

    Attributes:
        raw: its value.
        weighted: its value times its weight.
        gradient: L2 norm of the weighted term's gradient at what it reads of the student.
        share: that norm over the one of the weighted cross-entropy's gradient at the same place, or None where
            cross-entropy has no weight.
    """

    name: str
    taps: tuple[str, ...]
    weight: float
    schedule: str
    raw: float
    weighted: float
    gradient: float
    share: float | None


def measure(recipe: Recipe, *, teacher: str | None = None, device: str = "auto") -> list[Weighed]:
    """Run a few batches of a distillation through both networks, without a step and without a file.

    Raises:
        UserError: as `distill` does.
    """
    source = teacher_source(recipe, teacher)
    parts = assemble(_plain(recipe), "student", teacher=source, device=device)
    learner, stream = Learner(parts), Stream(parts.datasets[0], parts.settings)
    batches = islice(loader(stream, parts.settings, start=0), BATCHES)
    where = parts.accelerator.device
    found: list[dict[str, list[float]]] = []
    with Progress("dry run", BATCHES) as progress:
        for images, labels in map(stream.batch, batches):
            try:
                weighed = learner.weigh(images.to(where), labels.to(where))
            except NotFiniteError as error:
                first = len(found) * parts.settings.batch_size
                raise UserError(f"dry run: {explain(error, stream, first)[0]}") from error
            losses = weighed.losses
            columns = (losses.raw, losses.weighted, losses.gradients, weighed.ce_gradients)
            found.append({name: [column[name].item() for column in columns] for name in losses.raw})
            progress.advance(len(found))
    schedules = {term.name: term.schedule for term in recipe.distill}
    return [
        _mean(
            part,
            _words(schedules.get(part.name, recipe.supervised.schedule)),
            [values[part.name] for values in found],
        )
        for part in parts.objective.parts
    ]


def _plain(recipe: Recipe) -> Recipe:
    """Without schedules, and not compiled: of a compiled network no gradient leads from one output to another."""

    def flat(section: Supervised | TermSection) -> dict[str, Schedule]:
        return {"schedule": section.schedule if section.schedule.kind == "constant" else Schedule()}

    supervised = recipe.supervised.model_copy(update=flat(recipe.supervised))
    terms = [term.model_copy(update=flat(term)) for term in recipe.distill]
    train = recipe.train.model_copy(update={"compile": False})
    return recipe.model_copy(update={"supervised": supervised, "distill": terms, "train": train})


def _mean(part: Part, schedule: str, found: list[list[float]]) -> Weighed:
    raw, weighted, gradient, ce = (fmean(column) for column in zip(*found, strict=True))
    share = gradient / ce if ce else None
    return Weighed(part.name, part.taps, part.weight, schedule, raw, weighted, gradient, share)


def _words(schedule: Schedule) -> str:
    if schedule.kind == "constant":
        return "constant" if schedule.start == 1 else f"constant {schedule.start:g}"
    over = f", steps {schedule.over[0]} to {schedule.over[1]}" if schedule.over else ""
    return f"{schedule.kind} {schedule.start:g} to {schedule.end:g}{over}"
