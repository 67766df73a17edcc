"""`train` and `distill`: from a recipe to a finished run."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from kd_deploy.config.schema import Recipe, SyntheticData
from kd_deploy.data.dataset import open_dataset, verify
from kd_deploy.device import make_device
from kd_deploy.distill.objective import Objective
from kd_deploy.models.weights import load, make
from kd_deploy.run import Run
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import write_json
from kd_deploy.trainer import Trainer

REPORTED_VERSIONS = (
    "kd-deploy",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "accelerate",
    "numpy",
)


def train(
    recipe: Recipe, role: str, path: Path, *, device: str = "auto", resume: bool = False
) -> dict[str, Any]:
    """Train the recipe's teacher or student from the labels alone; returns summary.json's content."""
    objective = Objective(recipe.supervised, [])
    return _fit(recipe, role, path, objective, teacher=None, device=device, resume=resume)


def distill(
    recipe: Recipe, path: Path, *, teacher: str | None = None, device: str = "auto", resume: bool = False
) -> dict[str, Any]:
    """Train the recipe's student with its `distill` terms; returns summary.json's content.

    Args:
        teacher: a run, a checkpoint or hub:ID; None takes the recipe's `teacher.weights`.

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
    if not source.startswith("hub:"):
        source = str(Path(source).resolve())
    objective = Objective(recipe.supervised, recipe.distill)
    return _fit(recipe, "student", path, objective, teacher=source, device=device, resume=resume)


def _fit(
    recipe: Recipe,
    role: str,
    path: Path,
    objective: Objective,
    *,
    teacher: str | None,
    device: str,
    resume: bool,
) -> dict[str, Any]:
    recipe = _with_absolute_root(recipe)  # a run is read from other folders than it was started in
    datasets = open_dataset(recipe.data, "train"), open_dataset(recipe.data, "val")
    size, _ = (verify(dataset) for dataset in datasets)  # before anything is written
    classes = len(datasets[0].classes)
    section = recipe.teacher if role == "teacher" else recipe.student
    settings = (recipe.teacher.train if role == "teacher" else None) or recipe.train
    accelerator = make_accelerator(device, settings.precision)
    torch.manual_seed(settings.seed)
    segmenter = make(section, classes, key=role)
    guide = load(recipe.teacher, teacher, classes, key="teacher") if teacher else None
    run = Run.create(path, recipe, role, teacher=teacher, resume=resume)
    trainer = Trainer(run, segmenter, objective, guide, datasets, size, accelerator)
    trainer.fit()
    return _finish(trainer)


def _with_absolute_root(recipe: Recipe) -> Recipe:
    if isinstance(recipe.data, SyntheticData):
        return recipe
    data = recipe.data.model_copy(update={"root": recipe.data.root.resolve()})
    return recipe.model_copy(update={"data": data})


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Accelerate's device, precision and process group; `device` is auto, cpu or cuda.

    Raises:
        MissingComponentError: cuda was asked for and is not there.
    """
    on_cpu = make_device(device).type == "cpu"
    mixed = "no" if precision == "fp32" else precision
    AcceleratorState._reset_state()  # it outlives a run, and this one may have another precision
    # The batch size of a recipe is global: more processes share it, and the losses stay the same.
    return Accelerator(cpu=on_cpu, mixed_precision=mixed, split_batches=True)


def _finish(trainer: Trainer) -> dict[str, Any]:
    """Write the weights that the recipe keeps, and the summary that goes with them."""
    run, state, result, step = trainer.run, None, trainer.result, trainer.step
    if trainer.settings.keep == "best" and (best := run.load_checkpoint("best")):
        state, result, step = best["network"], best["result"], best["step"]
    run.save_weights(state or trainer.segmenter.network.state_dict())
    summary = {
        "role": run.role,
        "terms": ["ce"] if run.teacher is None else ["ce", *(t.method for t in run.recipe.distill)],
        "teacher": run.teacher,
        "seed": trainer.settings.seed,
        "iterations": trainer.settings.iterations,
        "weights_of_step": step,
        **{key: value for key, value in result.items() if key not in ("backend", "precision")},
        "parameters": sum(p.numel() for p in trainer.segmenter.parameters()),
        "seconds": round(trainer.seconds, 2),
        "seconds_per_step": trainer.seconds / trainer.step,
        "batch_size": trainer.settings.batch_size,
        "precision": trainer.settings.precision,
        **_environment(trainer.accelerator.device),
    }
    write_json(run.path / "summary.json", summary)
    return summary


def _environment(device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    memory = (
        torch.cuda.max_memory_allocated(device)
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    )
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "peak_memory_bytes": memory,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in REPORTED_VERSIONS}},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The checkout's commit, with a + where files were changed; None for an installed package."""
    git = [
        "git",
        "-C",
        str(Path(__file__).resolve().parent),
        "describe",
        "--always",
        "--dirty=+",
        "--abbrev=12",
    ]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
