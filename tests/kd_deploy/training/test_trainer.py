"""Training: what is logged and saved, the teacher's part in it, and that a break changes nothing."""

from __future__ import annotations

import copy
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kd_deploy.config.load import load_recipe
from kd_deploy.data.dataset import open_dataset
from kd_deploy.data.stream import Stream
from kd_deploy.models.weights import load
from kd_deploy.run import Run
from kd_deploy.training import trainer
from kd_deploy.training.train import distill, train
from kd_deploy.training.trainer import Trainer


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the numbers that depend on the clock."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        for clocked in ("images_per_second", "waiting_for_data"):
            record.pop(clocked, None)
    return records


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "student.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def after_step(step: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[Trainer], None]) -> None:
    """Call `act` in the middle of a step, before it is logged or saved."""
    train_step = Trainer._train_step

    def step_and_act(self: Trainer, images: Tensor, labels: Tensor) -> Any:
        losses = train_step(self, images, labels)
        if self.step == step:
            act(self)
        return losses

    monkeypatch.setattr(Trainer, "_train_step", step_and_act)


def press_ctrl_c(_: Trainer) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("step", [2, 8])
def test_a_run_resumed_after_ctrl_c_is_the_run_without_a_break(
    deployed: Any, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, teacher = load_recipe(str(deployed.recipe)), str(deployed.teacher)
    with monkeypatch.context() as patch:
        after_step(step, patch, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe, tmp_path / "run", teacher=teacher, device="cpu")
    assert Run.open(tmp_path / "run").load_checkpoint("last")["step"] == step
    assert not (tmp_path / "run" / "summary.json").exists()
    distill(recipe, tmp_path / "run", teacher=teacher, device="cpu", resume=True)
    assert metrics(tmp_path / "run") == metrics(deployed.run)
    assert same(weights(tmp_path / "run"), weights(deployed.run))


def test_frames_augmented_on_the_device_give_the_same_run_resumed_too(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU's training does, forced on the CPU."""
    monkeypatch.setattr(trainer, "Stream", lambda dataset, train, raw: Stream(dataset, train, raw=True))
    recipe, teacher = load_recipe(str(deeplab.recipe)), str(deeplab.teacher)
    with monkeypatch.context() as patch:
        after_step(5, patch, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe, tmp_path / "run", teacher=teacher, device="cpu")
    distill(recipe, tmp_path / "run", teacher=teacher, device="cpu", resume=True)
    assert metrics(tmp_path / "run") == metrics(deeplab.run)
    assert same(weights(tmp_path / "run"), weights(deeplab.run))


def test_the_share_of_waiting_for_data_is_logged(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves while a batch is loaded and while a step is done, and never else."""
    clock, batch, step = [0.0], Stream.batch, Trainer._train_step
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any) -> Any:
            clock[0] += seconds
            return work(*arguments)

        return slow

    monkeypatch.setattr(Stream, "batch", taking(3.0, batch))
    monkeypatch.setattr(Trainer, "_train_step", taking(1.0, step))
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=3", "train.log_every=2"])
    train(recipe, "student", tmp_path / "run", device="cpu")
    logged = [record for record in Run.open(tmp_path / "run").records() if record["kind"] == "train"]
    assert [record["waiting_for_data"] for record in logged] == [0.75, 0.75]
    assert [record["images_per_second"] for record in logged] == [0.5, 0.5]


def test_a_killed_run_resumes_from_its_last_checkpoint(deeplab: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["distill", deeplab.recipe, "--teacher", deeplab.teacher, "-o", run, "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *map(str, arguments)], stderr=subprocess.PIPE)
    wait_for(lambda: process.poll() is not None or '"step": 6' in read(run / "metrics.jsonl"))
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stderr and process.stderr.read()
    process.stderr.close()  # type: ignore[union-attr]
    state = Run.open(run).load_checkpoint("last")
    assert state is not None
    assert state["step"] == 4
    distill(load_recipe(str(deeplab.recipe)), run, teacher=str(deeplab.teacher), device="cpu", resume=True)
    assert metrics(run) == metrics(deeplab.run)
    assert same(weights(run), weights(deeplab.run))


SLOW = """
import time
from kd_deploy.cli import main
from kd_deploy.training.trainer import Trainer

step = Trainer._train_step
Trainer._train_step = lambda *arguments: (time.sleep(0.3), step(*arguments))[1]
main()
"""
"""The command line with slow steps, so that a kill falls between two of them."""


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def wait_for(there: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_resuming_a_finished_run_changes_nothing(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=2", "evaluate.every=2"])
    first = train(recipe, "student", tmp_path / "run", device="cpu")
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    monkeypatch.setattr("kd_deploy.training.summary._commit", lambda: "another")
    assert train(recipe, "student", tmp_path / "run", device="cpu", resume=True) == first
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}


def test_every_term_is_logged_by_name_and_adds_up(deeplab: Any) -> None:
    logged = [record for record in metrics(deeplab.run) if record["kind"] == "train"]
    assert [record["step"] for record in logged] == [3, 6, 8]
    terms = {"ce", "kd", "bpkd.body"}
    for record in logged:
        expected = {"kind", "step", "loss", "lr", *terms, *(f"{term}.weighted" for term in terms)}
        expected |= {f"{term}.gradient" for term in terms}
        assert record.keys() == expected
        assert all(math.isfinite(record[term]) and record[term] > 0 for term in terms)
        assert record["loss"] == pytest.approx(sum(record[f"{term}.weighted"] for term in terms))
        assert record["bpkd.body.weighted"] == pytest.approx(0.5 * record["bpkd.body"])
    assert logged[0]["kd.weighted"] > 0.5 * logged[0]["kd"]  # its schedule falls from 1 to 0
    assert logged[-1]["kd.weighted"] < 0.5 * logged[-1]["kd"]
    assert [r["step"] for r in metrics(deeplab.run) if r["kind"] == "evaluate"] == [4, 8]


def test_tensorboard_gets_the_same_numbers(deeplab: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(deeplab.run))
    events.Reload()
    for record in metrics(deeplab.run):
        tag = "val/miou" if record["kind"] == "evaluate" else "train/bpkd.body"
        value = record["miou" if record["kind"] == "evaluate" else "bpkd.body"]
        (found,) = (e.value for e in events.Scalars(tag) if e.step == record["step"])
        assert found == pytest.approx(value, rel=1e-6)


def test_the_teacher_is_read_only(deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(training: Trainer) -> None:
        guide = training.learner._guide
        assert guide is not None
        teacher = guide.network
        seen["state"] = copy.deepcopy(teacher.network.state_dict())
        seen["training"] = [module for module in teacher.modules() if module.training]
        seen["grad"] = [p for p in teacher.parameters() if p.requires_grad or p.grad is not None]
        groups = training.learner._optimizer.param_groups
        optimised = {id(p) for group in groups for p in group["params"]}
        seen["optimised"] = [p for p in teacher.parameters() if id(p) in optimised]

    after_step(5, monkeypatch, look)  # after an evaluation too
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=5"])
    distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    classes = len(open_dataset(recipe.data, "train").classes)
    teacher = load(recipe.teacher, str(deeplab.teacher), classes, key="teacher").folded()
    assert same(seen["state"], teacher.network.state_dict())
    assert seen["training"] == seen["grad"] == seen["optimised"] == []


def test_checkpoints_hold_the_student_and_nothing_of_the_teacher(deeplab: Any) -> None:
    run = Run.open(deeplab.run)
    for name in ("last", "best"):
        state = run.load_checkpoint(name)
        assert state is not None
        assert state["network"].keys() == weights(deeplab.run).keys()
        moments = state["optimizer"]["state"]
        assert {m["exp_avg"].numel() for m in moments.values()} <= {
            v.numel() for v in state["network"].values()
        }
    assert same(run.load_checkpoint("last")["network"], weights(deeplab.run))  # type: ignore[index]


def test_keep_best_saves_the_weights_of_the_best_evaluation(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(
        str(deeplab.recipe),
        ["train.iterations=4", "evaluate.every=2", "train.keep=best", "train.log_every=1"],
    )
    mious, to_json = iter([40.0, 30.0]), trainer.to_json
    monkeypatch.setattr(trainer, "to_json", lambda *args: {**to_json(*args), "miou": next(mious)})
    summary = train(recipe, "student", tmp_path / "run", device="cpu")
    assert summary["weights_of_step"] == 2
    assert summary["miou"] == 40.0
    run = Run.open(tmp_path / "run")
    best, last = run.load_checkpoint("best"), run.load_checkpoint("last")
    assert best is not None
    assert last is not None
    assert same(weights(run.path), best["network"])
    assert not same(best["network"], last["network"])


def test_the_seed_alone_decides(deeplab: Any, tmp_path: Path) -> None:
    def trained(name: str, seed: int) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        recipe = load_recipe(
            str(deeplab.recipe), ["train.iterations=2", f"train.seed={seed}", "train.log_every=1"]
        )
        train(recipe, "student", tmp_path / name, device="cpu")
        return metrics(tmp_path / name), weights(tmp_path / name)

    first, again, other = trained("first", 0), trained("again", 0), trained("other", 1)
    assert first[0] == again[0]
    assert same(first[1], again[1])
    assert first[0] != other[0]
    assert not same(first[1], other[1])


def test_low_precision_trains_and_is_named(deeplab: Any, tmp_path: Path) -> None:
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=2", "train.precision=bf16"])
    summary = distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    assert summary["precision"] == "bf16"
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} <= {torch.float32, torch.int64}
