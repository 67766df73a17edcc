"""A disk that refuses the logs: metrics.jsonl ends the run in one line, TensorBoard's events do not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.load import load_recipe
from kd_deploy.runtime.errors import UserError
from kd_deploy.training import journal
from kd_deploy.training.train import distill
from kd_deploy.training.trainer import Trainer
from tests.kd_deploy.training.test_trainer import after_step, metrics, same, weights

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
NOTE = "TensorBoard's events cannot be written (No space left on device); metrics.jsonl goes on without them"


@full
def test_a_disk_that_is_full_for_a_record(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, kept = tmp_path / "run", tmp_path / "kept"

    def fill(_: Trainer) -> None:
        (run / "metrics.jsonl").rename(kept)
        (run / "metrics.jsonl").symlink_to("/dev/full")

    recipe, teacher = load_recipe(str(deeplab.recipe)), str(deeplab.teacher)
    with monkeypatch.context() as patch:
        after_step(6, patch, fill)
        with pytest.raises(UserError) as caught:
            distill(recipe, run, teacher=teacher, device="cpu")
    assert str(caught.value) == (
        f"{run / 'metrics.jsonl'}: cannot be written (No space left on device); free space or choose another place"
    )
    kept.write_text(kept.read_text() + '{"kind": "train", "step": 6, "lo')
    kept.replace(run / "metrics.jsonl")
    distill(recipe, run, teacher=teacher, device="cpu", resume=True)
    assert metrics(run) == metrics(deeplab.run)
    assert same(weights(run), weights(deeplab.run))


@full
def test_a_disk_that_is_full_for_an_event(
    kd: Any, deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(training: Trainer) -> None:
        events = training.journal._events
        assert events is not None
        with Path("/dev/full").open("wb") as disk:
            os.dup2(disk.fileno(), events._file.fileno())

    after_step(4, monkeypatch, fill)
    arguments = ["--teacher", deeplab.teacher, "-o", tmp_path / "run", "--device", "cpu"]
    done = kd("distill", deeplab.recipe, *arguments)
    assert done.code == 0
    assert done.err.count(f"run: {NOTE}\n") == 1
    assert "Traceback" not in done.err
    assert metrics(tmp_path / "run") == metrics(deeplab.run)


def test_no_place_for_events_at_all(
    kd: Any, deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal, "Events", refuse)
    overrides = ["--set", "train.iterations=1"]
    arguments = ["--teacher", deeplab.teacher, "-o", tmp_path / "run", "--device", "cpu", *overrides]
    done = kd("distill", deeplab.recipe, *arguments)
    assert done.code == 0
    assert done.err.count(f"run: {NOTE}\n") == 1
    assert [record["step"] for record in metrics(tmp_path / "run")] == [1, 1]
