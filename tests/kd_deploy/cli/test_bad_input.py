"""Whatever is wrong with the input: one line, exit 1, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.bundle import Bundle
from tests.kd_deploy.cli.conftest import start


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def unchanged(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it once all is set up: then nothing in `tmp_path` may change to the end of the test."""
    before: list[dict[str, bytes | None]] = []
    yield lambda: before.append(snapshot(tmp_path))
    assert before
    assert snapshot(tmp_path) == before[0]


def test_a_missing_or_misspelt_recipe(tmp_path: Path, kd: Any, unchanged: Any) -> None:
    unchanged()
    for name, hint in (
        ("camvid/segformer-b0-kdd", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        (tmp_path / "mine.yaml", "no such file"),
    ):
        for command in (("distill", name), ("train", name, "--role", "teacher")):
            outcome = kd(*command, "-o", tmp_path / "run")
            assert outcome.code == 1
            assert outcome.error.startswith(f"{name}: ")
            assert hint in outcome.error


def test_a_wrong_key(recipe: Path, tmp_path: Path, kd: Any, unchanged: Any) -> None:
    unchanged()
    outcome = kd("distill", recipe, "-o", tmp_path / "run", "--set", "train.iteration=3")
    assert outcome.code == 1
    assert "--set train.iteration=3: unknown key (did you mean 'iterations'?)" in outcome.error


def drop(root: Path) -> Path:
    shutil.rmtree(root)
    return root


def empty(root: Path) -> Path:
    shutil.rmtree(root)
    root.mkdir()
    return root


def no_pictures(root: Path) -> Path:
    for file in (root / "val").iterdir():
        file.unlink()
    return root / "val"


def no_mask(root: Path) -> Path:
    (root / "trainannot" / "002.png").unlink()
    return root / "train" / "002.jpg"


def cut(name: str) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])
        return root / name

    return damage


def foreign_id(root: Path) -> Path:
    cv2.imwrite(str(root / "valannot" / "001.png"), np.full((64, 96), 30, np.uint8))
    return root / "valannot" / "001.png"


def other_mask_size(root: Path) -> Path:
    cv2.imwrite(str(root / "trainannot" / "001.png"), np.zeros((32, 48), np.uint8))
    return root / "trainannot" / "001.png"


DAMAGES = {
    "root missing": drop,
    "root empty": empty,
    "no pictures": no_pictures,
    "no mask": no_mask,
    "truncated jpeg": cut("train/004.jpg"),
    "truncated png": cut("trainannot/004.png"),
    "truncated val": cut("val/003.jpg"),
    "foreign id": foreign_id,
    "mask size": other_mask_size,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_data_stop_a_run_before_it_begins(
    damage: Callable[[Path], Path],
    recipe: Path,
    teacher_run: Path,
    own_camvid: Path,
    tmp_path: Path,
    kd: Any,
    unchanged: Any,
) -> None:
    named = damage(own_camvid)
    unchanged()
    outcome = kd(
        *("distill", recipe, "--teacher", teacher_run, "-o", tmp_path / "run", "--device", "cpu"),
        *("--set", f"data.root={own_camvid}"),
    )
    assert outcome.code == 1
    assert outcome.error.startswith(str(named))


@pytest.mark.parametrize(
    "damage", [drop, no_pictures, cut("val/003.jpg"), foreign_id], ids=lambda d: d.__name__
)
def test_damaged_data_stop_an_evaluation(
    damage: Callable[[Path], Path], deeplab: Any, own_camvid: Path, kd: Any
) -> None:
    named = damage(own_camvid)
    for command in (
        ("evaluate", deeplab.run),
        ("evaluate", deeplab.bundle),
        ("parity", deeplab.bundle),
    ):
        outcome = kd(*command, "--data", own_camvid, "--json")
        assert outcome.code == 1
        assert outcome.error.startswith(str(named))


def test_a_wrong_teacher(recipe: Path, deploy: Any, tmp_path: Path, kd: Any, unchanged: Any) -> None:
    segformer = deploy("segformer").run
    (tmp_path / "notes.pt").write_text("no checkpoint")
    unchanged()
    for teacher, what in (
        (
            segformer,
            "is a checkpoint of another network than teacher (deeplabv3plus on resnet18, 11 classes)",
        ),
        (tmp_path / "notes.pt", "cannot be read as a checkpoint"),
        (tmp_path / "nowhere", "no weights there"),
        (tmp_path, "no weights there"),
    ):
        outcome = kd("distill", recipe, "--teacher", teacher, "-o", tmp_path / "run", "--device", "cpu")
        assert outcome.code == 1
        assert outcome.error.startswith(f"{teacher}: {what}")
    outcome = kd("distill", recipe, "-o", tmp_path / "run")
    assert outcome.code == 1
    assert outcome.error.startswith("teacher: has never seen this data set")


def test_a_taken_run_and_a_taken_bundle(
    deeplab: Any, own_bundle: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    (tmp_path / "file").write_text("mine")
    unchanged()
    train = ("train", deeplab.recipe, "--role", "student", "--device", "cpu")
    for command, text in (
        ((*train, "-o", run), f"{run}: exists already"),
        ((*train, "-o", run, "--resume"), f"{run}: --resume needs the run's own recipe"),
        ((*train, "-o", tmp_path / "file"), f"{tmp_path / 'file'}: exists already"),
        ((*train, "-o", tmp_path / "file" / "run"), f"{tmp_path / 'file' / 'run'}: cannot be written"),
        (("export", run, "-o", own_bundle), f"{own_bundle}: exists already"),
        (("export", run, "-o", run, "--force"), f"{run}: is no bundle"),
        (("export", run, "-o", tmp_path / "file" / "b"), f"{tmp_path / 'file' / 'b'}: cannot be written"),
        (("export", tmp_path, "-o", tmp_path / "b"), f"{tmp_path}: is no run"),
        (("evaluate", tmp_path), f"{tmp_path}: is no run"),
    ):
        outcome = kd(*command)
        assert outcome.code == 1
        assert outcome.error.startswith(text)


def test_an_edited_bundle(
    own_bundle: Path, video: Path, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    model = own_bundle / "model.fp32.onnx"
    data = model.read_bytes()
    model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    unchanged()
    for command in (
        ("evaluate", own_bundle, "--data", camvid),
        ("parity", own_bundle),
        ("benchmark", own_bundle),
        ("infer", own_bundle, video, "-o", tmp_path / "out.mp4"),
    ):
        outcome = kd(*command)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{model}: was changed after the export")


def test_pictures_and_videos_that_cannot_be_decoded(
    deeplab: Any, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    (tmp_path / "cut.jpg").write_bytes((camvid / "val" / "000.jpg").read_bytes()[:900])
    (tmp_path / "old.png").write_text("old")
    unchanged()
    for name, output in (("gone.mp4", "new.mp4"), ("cut.jpg", "old.png")):
        outcome = kd("infer", deeplab.bundle, tmp_path / name, "-o", tmp_path / output)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{tmp_path / name}: ")


def test_of_a_cut_video_only_our_line_is_printed(deeplab: Any, video: Path, tmp_path: Path) -> None:
    """In a process of its own: FFmpeg reads how much it may print once, before the first video."""
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    process = start("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: {video}: cannot be decoded as a video")
    assert list(tmp_path.iterdir()) == [video]


def test_an_output_that_cannot_be_written(
    deeplab: Any, video: Path, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    (tmp_path / "file").write_text("mine")
    unchanged()
    for source, output in ((video, "file/out.mp4"), (camvid / "val" / "000.jpg", "file/out.png")):
        outcome = kd("infer", deeplab.bundle, source, "-o", tmp_path / output)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{tmp_path / output}: ")


def test_a_bundle_that_may_not_be_written_to_is_measured_all_the_same(own_bundle: Path, kd: Any) -> None:
    (own_bundle / "parity.json").mkdir()
    outcome = kd("parity", own_bundle, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["verdict"] == "pass"
    assert outcome.err.startswith(f"not kept: {own_bundle / 'parity.json'}: cannot be written")
    assert Bundle.open(own_bundle)
