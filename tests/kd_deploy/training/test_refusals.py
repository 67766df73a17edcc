"""What ends a run before its last step: a frame, a disk, a loss or weights that are not fit to go on."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_deploy.config.load import load_recipe
from kd_deploy.data.dataset import open_dataset
from kd_deploy.data.stream import Stream
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import is_temporary
from kd_deploy.training.balance import measure
from kd_deploy.training.learner import Learner
from kd_deploy.training.train import distill, train
from kd_deploy.training.trainer import Trainer
from tests.kd_deploy.training.test_trainer import after_step, metrics, same, weights


def unreadable(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """From the batch of that number on, the stream says what a damaged frame says."""
    read, numbers = Stream.batch, count(1)

    def failing(self: Stream, loaded: Any) -> Any:
        if next(numbers) >= batch:
            raise UserError("street.png: is truncated; copy it again")
        return read(self, loaded)

    monkeypatch.setattr(Stream, "batch", failing)


def test_a_frame_that_went_bad_stops_the_run_after_saving(
    deployed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, teacher = load_recipe(str(deployed.recipe)), str(deployed.teacher)
    with monkeypatch.context() as patch:
        unreadable(patch, 6)
        with pytest.raises(UserError, match=r"at step 6 street.png: is truncated; .*saved at step 5\)$"):
            distill(recipe, tmp_path / "run", teacher=teacher, device="cpu")
    distill(recipe, tmp_path / "run", teacher=teacher, device="cpu", resume=True)
    assert metrics(tmp_path / "run") == metrics(deployed.run)
    assert same(weights(tmp_path / "run"), weights(deployed.run))


def test_a_dry_run_names_a_frame_that_went_bad(deeplab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable(monkeypatch, 2)
    with pytest.raises(UserError, match=r"^street.png: is truncated"):
        measure(load_recipe(str(deeplab.recipe)), teacher=str(deeplab.teacher), device="cpu")


def test_a_disk_that_is_full_for_a_checkpoint(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses to let a file grow; the last checkpoint stays, and the run goes on from it."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    recipe, teacher, run = load_recipe(str(deeplab.recipe)), str(deeplab.teacher), tmp_path / "run"

    def fill(_: Trainer) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))

    with monkeypatch.context() as patch:
        after_step(8, patch, fill)
        try:
            with pytest.raises(UserError) as caught:
                distill(recipe, run, teacher=teacher, device="cpu")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.fullmatch(
        rf"{run}/checkpoints/(best|last)\.pt: cannot be written \(File too large\); free space or choose another place",
        str(caught.value),
    )
    state = Run.open(run).load_checkpoint("last")
    assert state is not None
    assert state["step"] == 4
    assert [path for path in run.rglob("*") if is_temporary(path)] == []
    distill(recipe, run, teacher=teacher, device="cpu", resume=True)
    assert metrics(run) == metrics(deeplab.run)
    assert same(weights(run), weights(deeplab.run))


def test_a_loss_that_is_not_finite_stops_the_run(deeplab: Any, tmp_path: Path) -> None:
    recipe = load_recipe(
        str(deeplab.recipe),
        ["train.optimizer.name=sgd", "train.lr=1e30", "train.iterations=6", "evaluate.every=6"],
    )
    with pytest.raises(UserError, match=r"run: at step 2 ce is nan: the student's logits are not .*; lower"):
        train(recipe, "student", tmp_path / "run", device="cpu")
    assert Run.open(tmp_path / "run").load_checkpoint("last") is None  # its weights are not worth it


def test_a_teacher_that_is_not_finite_stops_the_run_after_saving(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The term, the step and the picture are named; what is saved goes on as if nothing had happened."""
    recipe = load_recipe(str(deeplab.recipe))
    with monkeypatch.context() as patch:
        outputs, calls = Learner._outputs, count()

        def spoil(self: Learner, images: Tensor) -> Any:
            student, teacher = outputs(self, images)
            if next(calls) == 5 and teacher is not None:
                teacher.logits[1] = float("nan")
            return student, teacher

        patch.setattr(Learner, "_outputs", spoil)
        with pytest.raises(UserError) as caught:
            distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    batch = recipe.train.batch_size
    name = Stream(open_dataset(recipe.data, "train"), recipe.train).name(5 * batch + 1)
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: at step 6 kd is nan: the teacher's logits are not finite on {name}; evaluate that "
        "teacher, or leave them out (the run is saved at step 5)"
    )
    state = Run.open(tmp_path / "run").load_checkpoint("last")
    assert state is not None
    assert state["step"] == 5
    assert all(torch.isfinite(x).all() for x in state["network"].values())
    distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu", resume=True)
    assert metrics(tmp_path / "run") == metrics(deeplab.run)
    assert same(weights(tmp_path / "run"), weights(deeplab.run))


def test_weights_that_are_not_finite_are_not_saved(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient that overflows under a loss that does not: the last checkpoint stays."""
    recipe = load_recipe(str(deeplab.recipe))

    def spoil(training: Trainer) -> None:
        with torch.no_grad():
            training.learner.segmenter.network.segmentation_head[0].weight[0] = float("nan")

    after_step(8, monkeypatch, spoil)
    with pytest.raises(
        UserError, match=r"run: after step 8 the weights are not finite, though the losses were"
    ):
        train(recipe, "student", tmp_path / "run", device="cpu")
    state = Run.open(tmp_path / "run").load_checkpoint("last")
    assert state is not None
    assert state["step"] == 4
    assert not (tmp_path / "run" / "summary.json").exists()
