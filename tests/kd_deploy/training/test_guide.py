"""The frozen teacher: its precision, and the cache of what it said."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Teacher
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.guide import Guide
from kd_deploy.training.train import distill
from kd_deploy.training.trainer import Trainer
from tests.kd_deploy.training.test_trainer import after_step, metrics, same, weights

TAPS = ("stage2", "logits")


@pytest.fixture(scope="module")
def teacher() -> Segmenter:
    torch.manual_seed(0)
    return build("deeplabv3plus", "resnet18", 5).eval()


@pytest.fixture
def views() -> Tensor:
    return torch.randint(
        0, 256, (3, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def guide(teacher: Segmenter, **section: Any) -> Guide:
    values = Teacher(arch="deeplabv3plus", encoder="resnet18", **section)
    return Guide(teacher, values, TAPS, Accelerator(cpu=True))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_it_is_frozen_and_says_what_the_network_says(teacher: Segmenter, views: Tensor) -> None:
    made = guide(teacher)
    outputs = made(views)
    assert list(outputs.taps) == list(TAPS)
    with torch.no_grad():
        expected = teacher(views.float(), TAPS)
    for tap in TAPS:
        torch.testing.assert_close(outputs.taps[tap], expected.taps[tap], rtol=1e-4, atol=1e-4)
    assert not outputs.logits.requires_grad
    assert not any(p.requires_grad for p in made.network.parameters())
    assert not any(module.training for module in made.network.modules())


def test_its_norms_are_in_its_convolutions(teacher: Segmenter) -> None:
    made = guide(teacher)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.network.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in teacher.modules())  # which is not touched


def test_bf16_is_its_own_choice(teacher: Segmenter, views: Tensor) -> None:
    exact, half = guide(teacher)(views), guide(teacher, precision="bf16")(views)
    assert half.logits.dtype == torch.bfloat16
    assert 0 < (half.logits - exact.logits).abs().max() < 0.05 * exact.logits.abs().max()


def test_a_view_is_computed_once(
    teacher: Segmenter, views: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    cached, another_run = (guide(teacher, cache=tmp_path) for _ in range(2))
    forward = Segmenter.forward

    def counted(self: Segmenter, images: Tensor, taps: Any) -> Any:
        asked.append(len(images))
        return forward(self, images, taps)

    monkeypatch.setattr(Segmenter, "forward", counted)
    first = cached(views[:2])
    mixed = cached(views[[2, 0]])
    again = another_run(views[:2])
    assert asked == [2, 1]
    for tap in TAPS:
        assert torch.equal(first.taps[tap], again.taps[tap])
        assert torch.equal(mixed.taps[tap][1], first.taps[tap][0])
        exact = forward(teacher, views.float(), TAPS).taps[tap].detach()
        torch.testing.assert_close(mixed.taps[tap][0], exact[2], rtol=2e-3, atol=2e-3)
    assert len(files(tmp_path)) == 3 * len(TAPS)


def test_another_teacher_and_another_tap_have_files_of_their_own(
    teacher: Segmenter, views: Tensor, tmp_path: Path
) -> None:
    guide(teacher, cache=tmp_path)(views)
    count = len(files(tmp_path))
    torch.manual_seed(1)
    other = build("deeplabv3plus", "resnet18", 5)
    found = guide(other, cache=tmp_path)(views)
    exact = other.eval()(views.float()).logits.detach()
    torch.testing.assert_close(found.logits, exact, rtol=2e-3, atol=2e-3)
    assert len(files(tmp_path)) == 2 * count


def test_a_damaged_file_is_computed_again(teacher: Segmenter, views: Tensor, tmp_path: Path) -> None:
    cached = guide(teacher, cache=tmp_path)
    first = cached(views)
    for file in files(tmp_path):
        file.write_bytes(file.read_bytes()[:60])
    assert torch.equal(cached(views).logits, first.logits)
    assert all(file.stat().st_size > 60 for file in files(tmp_path))


def test_what_is_not_finite_is_not_kept(teacher: Segmenter, views: Tensor, tmp_path: Path) -> None:
    broken = build("deeplabv3plus", "resnet18", 5)
    torch.nn.init.constant_(broken.network.segmentation_head[0].bias, float("nan"))
    assert torch.isnan(guide(broken, cache=tmp_path)(views).logits).all()
    assert files(tmp_path) == []
    torch.nn.init.constant_(broken.network.segmentation_head[0].bias, 1e6)
    with pytest.raises(UserError, match=r"^teacher.cache: what the teacher has at logits does not fit"):
        guide(broken, cache=tmp_path)(views)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(teacher: Segmenter, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        guide(teacher, cache=tmp_path / "cache")


def test_what_killed_runs_left_in_a_cache_goes_after_an_hour(
    teacher: Segmenter, views: Tensor, tmp_path: Path
) -> None:
    """Another run may be writing there now."""
    guide(teacher, cache=tmp_path)(views[:1])
    whole = files(tmp_path)
    old, new = (whole[0].with_name(f".view.{digit * 8}.tmp.npy") for digit in "01")
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    guide(teacher, cache=tmp_path)
    assert set(files(tmp_path)) == {*whole, new}


def test_a_cache_whose_disk_refuses_ends_the_run_after_the_step(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is saved, with what the cache would have given back, and the run goes on from it."""
    cache = tmp_path / "cache"
    overrides = ["train.iterations=4", "evaluate.every=2", "train.log_every=1", f"teacher.cache={cache}"]
    recipe, teacher = load_recipe(str(deeplab.recipe), overrides), str(deeplab.teacher)

    def refuse(_: Trainer) -> None:
        (own,) = cache.iterdir()
        own.rename(tmp_path / "kept")
        own.write_text("a file in the place of the folder")

    with monkeypatch.context() as patch:
        after_step(2, patch, refuse)
        with pytest.raises(UserError) as caught:
            distill(recipe, tmp_path / "run", teacher=teacher, device="cpu")
    assert re.fullmatch(
        rf"{cache}/\S+\.npy: cannot be written \((Not a directory|File exists)\); free space or choose another place",
        str(caught.value),
    )
    assert Run.open(tmp_path / "run").load_checkpoint("last")["step"] == 3  # type: ignore[index]
    shutil.rmtree(tmp_path / "kept")
    for file in cache.iterdir():
        file.unlink()
    distill(recipe, tmp_path / "run", teacher=teacher, device="cpu", resume=True)
    distill(recipe, tmp_path / "unbroken", teacher=teacher, device="cpu")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "unbroken")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))


def test_two_runs_with_one_cache_are_alike(deeplab: Any, tmp_path: Path) -> None:
    overrides = [
        "train.iterations=2",
        "evaluate.every=2",
        "train.log_every=1",
        f"teacher.cache={tmp_path / 'cache'}",
    ]
    recipe = load_recipe(str(deeplab.recipe), overrides)
    for name in ("first", "second"):
        distill(recipe, tmp_path / name, teacher=str(deeplab.teacher), device="cpu")
    assert metrics(tmp_path / "first") == metrics(tmp_path / "second")
    assert same(weights(tmp_path / "first"), weights(tmp_path / "second"))
    assert len(files(tmp_path / "cache")) == 2 * recipe.train.batch_size
