"""`train` and `distill`: from a recipe to a finished run."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list

from kd_deploy.config.data import SyntheticData
from kd_deploy.config.schema import Recipe, Train
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
        teacher: a run, a checkpoint or hub:ID; None takes the recipe's `teacher.weights`, or, with `resume`,
            the teacher that the run was started with.

    Raises:
        UserError: the recipe has no terms, or the teacher was never trained.
    """
    if not recipe.distill:
        raise UserError(
            "distill: the recipe lists no terms; kd-deploy train RECIPE --role student trains the student alone"
        )
    if teacher is None and resume and path.is_dir():
        teacher = Run.open(path).teacher
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
    sizes = verify(datasets[0]), verify(datasets[1])  # before anything is written
    classes = len(datasets[0].classes)
    section = recipe.teacher if role == "teacher" else recipe.student
    settings = (recipe.teacher.train if role == "teacher" else None) or recipe.train
    accelerator = make_accelerator(device, settings)
    torch.manual_seed(settings.seed)
    segmenter = make(section, classes, key=role)
    guide = load(recipe.teacher, teacher, classes, key="teacher") if teacher else None
    run = Run(path, recipe, role, teacher)
    _claim(run, accelerator, resume)
    if not run.finished:
        trainer = Trainer(run, segmenter, objective, guide, datasets, sizes, accelerator)
        trainer.fit()
        if accelerator.is_main_process:
            _finish(trainer)
        accelerator.wait_for_everyone()
    accelerator.end_training()
    return run.summary()


def _claim(run: Run, accelerator: Accelerator, resume: bool) -> None:
    """Create the run's folder in the main process; where that is refused, every process says so and ends."""
    refused: list[UserError | None] = [None]
    if accelerator.is_main_process:
        try:
            Run.create(run.path, run.recipe, run.role, teacher=run.teacher, resume=resume)
        except UserError as error:
            refused = [error]
    broadcast_object_list(refused)
    if refused[0]:
        raise refused[0]


def _with_absolute_root(recipe: Recipe) -> Recipe:
    if isinstance(recipe.data, SyntheticData):
        return recipe
    data = recipe.data.model_copy(update={"root": recipe.data.root.resolve()})
    return recipe.model_copy(update={"data": data})


def make_accelerator(device: str, settings: Train) -> Accelerator:
    """Accelerate's device, precision and process group; `device` is auto, cpu or cuda.

    Raises:
        MissingComponentError: cuda was asked for and is not there.
        UserError: the device has no such precision, or the processes cannot share a batch.
    """
    asked = make_device(device)
    if asked.type == "cpu" and settings.precision == "fp16":
        raise UserError("train.precision: fp16 needs a GPU; on a CPU set it to bf16 or fp32")
    mixed = "no" if settings.precision == "fp32" else settings.precision
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives a run, and this one may differ
    # The batch size of a recipe is global: more processes share it, and the losses stay the same.
    shared = DataLoaderConfiguration(split_batches=True)
    accelerator = Accelerator(cpu=asked.type == "cpu", mixed_precision=mixed, dataloader_config=shared)
    if accelerator.device.type != asked.type:
        raise UserError(
            f"--device {device}: Accelerate took {accelerator.device.type} instead of {asked.type}; unset the "
            "ACCELERATE_* environment variables"
        )
    share, rest = divmod(settings.batch_size, accelerator.num_processes)
    if rest or share < 2:  # batch norm of a pooled branch needs two
        raise UserError(
            f"train.batch_size: {settings.batch_size} cannot be shared by {accelerator.num_processes} processes; "
            f"give a multiple of {accelerator.num_processes} that leaves each two pictures or more"
        )
    return accelerator


def _finish(trainer: Trainer) -> None:
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
        **result,
        "parameters": sum(p.numel() for p in trainer.segmenter.parameters()),
        "seconds": round(trainer.seconds, 2),
        "seconds_per_step": trainer.seconds / trainer.step,
        "batch_size": trainer.settings.batch_size,
        "precision": trainer.settings.precision,
        **_environment(trainer.accelerator.device),
    }
    write_json(run.path / "summary.json", summary)


def _environment(device: torch.device) -> dict[str, Any]:
    versions = {name: _version(name) for name in REPORTED_VERSIONS}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "peak_memory_bytes": _peak_memory(device),
        "versions": {"python": platform.python_version(), **versions},
        "commit": _commit(),
    }


def _version(distribution: str) -> str | None:
    """None where the package is there without its metadata, as in a checkout that is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _peak_memory(device: torch.device) -> int | None:
    """Of the GPU, or of this process on the CPU; None on Windows, which does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _commit() -> str | None:
    """The checkout's commit, with a + where files were changed; None for an installed package."""
    root = Path(__file__).resolve().parents[1]
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return None  # a virtual environment inside somebody else's repository
        return _git(root, "describe", "--always", "--dirty=+", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
