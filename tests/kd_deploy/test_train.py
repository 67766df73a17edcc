"""What `train` and `distill` refuse before they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_deploy.config.load import load_recipe
from kd_deploy.models.segmenter import build
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.train import distill, train


def test_a_teacher_that_was_never_trained(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^teacher: has never seen this data set; pass --teacher RUN"):
        distill(load_recipe(str(recipe)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_terms(recipe: Path, teacher_run: Path, tmp_path: Path) -> None:
    loaded = load_recipe(str(recipe), ["distill=[]"])
    with pytest.raises(UserError, match=r"^distill: the recipe lists no terms; kd-deploy train RECIPE"):
        distill(loaded, tmp_path / "run", teacher=str(teacher_run))


def test_a_teacher_of_other_classes(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "teacher.pt"
    torch.save(build("deeplabv3plus", "resnet18", 19).network.state_dict(), file)
    with pytest.raises(UserError, match=f"^{file}: is a checkpoint of another network than teacher"):
        distill(load_recipe(str(recipe)), tmp_path / "run", teacher=str(file))
    assert not (tmp_path / "run").exists()


def test_the_recipe_may_name_the_teacher(recipe: Path, teacher_run: Path, tmp_path: Path) -> None:
    loaded = load_recipe(
        str(recipe), [f"teacher.weights={teacher_run}", "train.iterations=1", "evaluate.every=1"]
    )
    summary = distill(loaded, tmp_path / "run", device="cpu")
    assert summary["teacher"] == str(teacher_run)


def test_the_teacher_is_trained_its_own_way(recipe: Path, tmp_path: Path) -> None:
    own = "{iterations: 2, batch_size: 3, crop: [32, 32], seed: 7, log_every: 1}"
    summary = train(
        load_recipe(str(recipe), [f"teacher.train={own}"]), "teacher", tmp_path / "run", device="cpu"
    )
    assert (summary["role"], summary["iterations"], summary["batch_size"], summary["seed"]) == (
        "teacher",
        2,
        3,
        7,
    )
    assert (tmp_path / "run" / "teacher.safetensors").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missing(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingComponentError, match=r"^cuda: torch .* finds no usable GPU"):
        train(load_recipe(str(recipe)), "student", tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_imagenet_weights_without_a_network(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(name: str, *, weights: str | None, **_: Any) -> None:
        assert (name, weights) == ("mobilenet_v2", "imagenet")
        raise OSError("We couldn't connect to 'https://huggingface.co'\nCheck your connection")

    monkeypatch.setattr("segmentation_models_pytorch.decoders.deeplabv3.model.get_encoder", offline)
    loaded = load_recipe(str(recipe), ["student.weights=imagenet"])
    with pytest.raises(
        UserError, match=r"^student.weights: imagenet .* --set student.weights=none"
    ) as caught:
        train(loaded, "student", tmp_path / "run", device="cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
