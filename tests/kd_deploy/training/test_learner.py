"""One step and its state: averages, parts of a batch, memory formats, learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.load import load_recipe
from kd_deploy.models.weights import read_weights, scored_weights
from kd_deploy.run import Run
from kd_deploy.training.train import distill, train
from tests.kd_deploy.training.test_trainer import after_step, metrics, press_ctrl_c, same, weights


def test_an_average_of_the_weights_is_scored_and_kept(deeplab: Any, tmp_path: Path) -> None:
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=3", "evaluate.every=1", "train.log_every=1"])
    averaging = recipe.model_copy(update={"train": recipe.train.model_copy(update={"ema": 0.75})})
    for name, chosen in (("plain", recipe), ("ema", averaging)):
        train(chosen, "student", tmp_path / name, device="cpu")
    plain, ema = (Run.open(tmp_path / name).load_checkpoint("last") for name in ("plain", "ema"))
    assert plain is not None
    assert ema is not None
    assert same(plain["network"], ema["network"])  # averaging changes nothing of the training
    assert same(weights(tmp_path / "ema"), scored_weights(ema))
    key = "segmentation_head.0.weight"
    before, after = plain["network"][key], weights(tmp_path / "ema")[key]
    assert 0 < (before - after).abs().max() < before.abs().max()
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        after_step(2, patch, press_ctrl_c)
        train(averaging, "student", tmp_path / "broken", device="cpu")
    train(averaging, "student", tmp_path / "broken", device="cpu", resume=True)
    assert same(weights(tmp_path / "broken"), weights(tmp_path / "ema"))
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "ema")


def test_a_batch_in_parts_is_the_batch(deeplab: Any, tmp_path: Path) -> None:
    """With frozen batch norm the losses, gradients and weights are those of the whole batch."""
    terms = "distill=[{method: kd, weight: 1}, {method: cwd, weight: 1, taps: [decoder]}]"
    shared = ["train.iterations=2", "evaluate.every=2", "train.log_every=1", "train.batch_size=4", terms]
    shared += ["train.batchnorm=frozen", "train.optimizer={name: sgd}"]
    for parts in (1, 2):
        recipe = load_recipe(str(deeplab.recipe), [*shared, f"train.accumulate={parts}"])
        distill(recipe, tmp_path / str(parts), teacher=str(deeplab.teacher), device="cpu")
    whole, parted = (metrics(tmp_path / name) for name in "12")
    for a, b in zip(whole[:2], parted[:2], strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"kind"}:
            assert b[key] == pytest.approx(a[key], rel=1e-3), key


def test_channels_last_and_head_lr_train(deeplab: Any, tmp_path: Path) -> None:
    overrides = ["train.iterations=2", "evaluate.every=2", "train.log_every=1"]
    found = []
    for extra in ([], ["train.channels_last=true"], ["train.head_lr=10"]):
        path = tmp_path / str(len(found))
        recipe = load_recipe(str(deeplab.recipe), [*overrides, *extra])
        distill(recipe, path, teacher=str(deeplab.teacher), device="cpu")
        found.append(metrics(path)[0:2])
    assert found[1][0]["loss"] == pytest.approx(found[0][0]["loss"], rel=1e-3)  # other kernels
    assert found[2][0]["loss"] == pytest.approx(found[0][0]["loss"], rel=1e-6)
    assert found[2][1]["loss"] != found[0][1]["loss"]


def test_a_checkpoint_as_a_teacher_is_what_was_scored(deeplab: Any, tmp_path: Path) -> None:
    recipe = load_recipe(str(deeplab.recipe), ["train.iterations=2", "evaluate.every=2", "train.ema=0.5"])
    train(recipe, "student", tmp_path / "run", device="cpu")
    assert same(read_weights(tmp_path / "run" / "checkpoints" / "last.pt"), weights(tmp_path / "run"))
