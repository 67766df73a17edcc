"""`train` and `distill`: from a recipe to a finished run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kd_deploy.config.schema import Recipe
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import Assembly, assemble
from kd_deploy.training.summary import finish
from kd_deploy.training.trainer import Trainer
from kd_deploy.training.verdict import in_main_process


def train(
    recipe: Recipe, role: str, path: Path, *, device: str = "auto", resume: bool = False
) -> dict[str, Any]:
    """Train the recipe's teacher or student from the labels alone; returns summary.json's content."""
    return _fit(assemble(recipe, role, teacher=None, device=device), path, teacher=None, resume=resume)


def distill(
    recipe: Recipe, path: Path, *, teacher: str | None = None, device: str = "auto", resume: bool = False
) -> dict[str, Any]:
    """Train the recipe's student with its `distill` terms; returns summary.json's content.

    Args:
        teacher: a run, a checkpoint or hub:ID; None takes the recipe's `teacher.weights`, or, with `resume`,
            the teacher that the run was started with.

    Raises:
        UserError: the recipe has no terms, or the teacher was never trained.
    """
    if teacher is None and resume and os.access(path / "run.json", os.R_OK):
        teacher = Run.open(path).teacher
    source = teacher_source(recipe, teacher)
    return _fit(
        assemble(recipe, "student", teacher=source, device=device), path, teacher=source, resume=resume
    )


def teacher_source(recipe: Recipe, teacher: str | None) -> str:
    """Where the teacher of a distillation comes from: the command's, else the recipe's; a path is absolute.

    Raises:
        UserError: the recipe has no terms, or the teacher was never trained.
    """
    if not recipe.distill:
        raise UserError(
            "distill: the recipe lists no terms; kd-deploy train RECIPE --role student trains the student alone"
        )
    source = teacher or recipe.teacher.weights
    if source in ("imagenet", "none"):
        raise UserError(
            "teacher: has never seen this data set; pass --teacher RUN (kd-deploy train RECIPE --role teacher "
            "-o RUN makes one), a checkpoint, or hub:ID"
        )
    return source if source.startswith("hub:") else str(Path(source).resolve())


def _fit(assembly: Assembly, path: Path, *, teacher: str | None, resume: bool) -> dict[str, Any]:
    run = Run(path, assembly.recipe, assembly.role, teacher)
    accelerator = assembly.accelerator
    in_main_process(
        accelerator,
        lambda: Run.create(path, run.recipe, run.role, teacher=teacher, resume=resume),
    )
    if not run.finished:
        trainer = Trainer(run, assembly)
        trainer.fit()
        in_main_process(accelerator, lambda: finish(trainer))
    accelerator.end_training()
    return run.summary()
