"""summary.json: what a finished run was, where it ran, and what it scored."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kd_deploy.models.weights import scored_weights
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.files import write_json
from kd_deploy.training.trainer import Trainer

REPORTED_VERSIONS = (
    "kd-deploy",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "accelerate",
    "numpy",
)


def finish(trainer: Trainer) -> None:
    """Write the weights that the recipe keeps, and the summary that goes with them."""
    run, state, result, step = trainer.run, None, trainer.result, trainer.step
    if trainer.settings.keep == "best" and (best := run.load_checkpoint("best")):
        state, result, step = scored_weights(best), best["result"], best["step"]
    run.save_weights(state or trainer.learner.scored.network.state_dict())
    summary = {
        "role": run.role,
        "terms": ["ce"] if run.teacher is None else ["ce", *(term.name for term in run.recipe.distill)],
        "teacher": run.teacher,
        "seed": trainer.settings.seed,
        "iterations": trainer.settings.iterations,
        "weights_of_step": step,
        **result,
        "parameters": sum(p.numel() for p in trainer.learner.segmenter.parameters()),
        "seconds": round(trainer.seconds, 2),
        "seconds_per_step": trainer.seconds / trainer.step,
        "batch_size": trainer.settings.batch_size,
        "processes": trainer.accelerator.num_processes,
        "precision": trainer.settings.precision,
        **_environment(trainer.accelerator.device),
    }
    write_json(run.path / "summary.json", summary, durable=True)


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
    root = Path(__file__).resolve().parents[2]
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return None  # a virtual environment inside somebody else's repository
        return _git(root, "describe", "--always", "--dirty=+", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
