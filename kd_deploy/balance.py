"""`distill --dry-run`: what every term of a recipe weighs before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from statistics import fmean

import torch

from kd_deploy.assemble import assemble
from kd_deploy.config.schema import Recipe
from kd_deploy.config.terms import Schedule, Supervised, TermSection
from kd_deploy.data.stream import Stream, loader
from kd_deploy.distill.objective import Losses, Part
from kd_deploy.models.segmenter import Outputs
from kd_deploy.progress import Progress
from kd_deploy.train import teacher_source

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
    parts = assemble(_unscheduled(recipe), "student", teacher=source, device=device)
    where, objective = parts.accelerator.device, parts.objective.to(parts.accelerator.device)
    student, guide = parts.segmenter.to(where).train(), parts.teacher
    assert guide is not None  # there is a source
    guide.to(where).eval()
    batches = islice(loader(Stream(parts.datasets[0], parts.settings), parts.settings, start=0), BATCHES)
    found: list[tuple[Losses, list[float]]] = []
    with Progress("dry run", BATCHES) as progress:
        for images, labels in batches:
            with parts.accelerator.autocast():
                outputs = student(images.to(where).float(), objective.taps)
                with torch.no_grad():
                    aim = guide(images.to(where).float(), objective.taps)
            losses = objective(outputs, aim, labels.to(where), step=0, measure=True)
            found.append((losses, [_ce_gradient(losses, outputs, part) for part in objective.parts]))
            progress.advance(len(found))
    schedules = {term.name: term.schedule for term in recipe.distill}
    return [
        _mean(
            part,
            _words(schedules.get(part.name, recipe.supervised.schedule)),
            [(losses, ce[number]) for losses, ce in found],
        )
        for number, part in enumerate(objective.parts)
    ]


def _unscheduled(recipe: Recipe) -> Recipe:
    def flat(section: Supervised | TermSection) -> dict[str, Schedule]:
        return {"schedule": section.schedule if section.schedule.kind == "constant" else Schedule()}

    supervised = recipe.supervised.model_copy(update=flat(recipe.supervised))
    terms = [term.model_copy(update=flat(term)) for term in recipe.distill]
    return recipe.model_copy(update={"supervised": supervised, "distill": terms})


def _ce_gradient(losses: Losses, outputs: Outputs, part: Part) -> float:
    """L2 norm of the weighted cross-entropy's gradient at what `part` reads."""
    found = torch.autograd.grad(losses.weighted["ce"], part.read(outputs), retain_graph=True)
    return float(torch.stack([x.float().norm() for x in found]).norm())


def _mean(part: Part, schedule: str, found: list[tuple[Losses, float]]) -> Weighed:
    raw, weighted, gradient = (
        fmean(values[part.name].item() for values in column)
        for column in zip(
            *((losses.raw, losses.weighted, losses.gradients) for losses, _ in found), strict=True
        )
    )
    ce = fmean(there for _, there in found)
    return Weighed(
        part.name, part.taps, part.weight, schedule, raw, weighted, gradient, gradient / ce if ce else None
    )


def _words(schedule: Schedule) -> str:
    if schedule.kind == "constant":
        return "constant" if schedule.start == 1 else f"constant {schedule.start:g}"
    over = f", steps {schedule.over[0]} to {schedule.over[1]}" if schedule.over else ""
    return f"{schedule.kind} {schedule.start:g} to {schedule.end:g}{over}"
