"""COCO-Stuff 10K: the downloaded layout with MATLAB files, and the converted one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy.data.coco_stuff import COCO_IDS, UNUSED, CocoStuff10k
from kd_deploy.data.dataset import verify
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.data.test_matlab import matlab
from tests.kd_deploy.data.trees import SIZES, blocks, write_coco_stuff, write_frame


def test_classes_and_palette() -> None:
    names = CocoStuff10k.classes
    assert len(names) == len(set(names)) == len(COCO_IDS) == 171
    assert len(UNUSED) == 11
    ids = {
        "person": 1,
        "stop sign": 13,
        "wine glass": 46,
        "tv": 72,
        "toothbrush": 90,
        "banner": 92,
        "wood": 182,
    }
    ids |= {
        "mirror-stuff": 133,
        "sky-other": 157,
        "window-blind": 180,
        "dining table": 67,
        "floor-other": 115,
    }
    assert {name: COCO_IDS[names.index(name)] for name in ids} == ids  # labels.txt's
    assert len(np.unique(CocoStuff10k.palette, axis=0)) == 171


def test_the_converted_layout(tmp_path: Path) -> None:
    root = write_coco_stuff(tmp_path)
    train = CocoStuff10k(root, "train")
    assert len(train) == 3
    for number, size in enumerate(SIZES[:3]):
        assert (train[number].label == blocks((255, 0, 80, 170), size)).all()
    assert verify(train) is None
    val, test = CocoStuff10k(root, "val"), CocoStuff10k(root, "test")
    assert val[0].name == test[0].name == str(root / "images/test2014/COCO_train2014_000000000000.jpg")
    shutil.rmtree(root / "images/train2014")
    with pytest.raises(UserError, match=r"images/train2014: is missing .*; the layout of COCO-Stuff 10K"):
        CocoStuff10k(root, "train")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """The downloaded layout."""
    for folder in ("annotations", "imageLists"):
        (tmp_path / folder).mkdir()
    for split, name in (("train", "b"), ("train", "a"), ("test", "c")):
        write_frame(tmp_path / "images" / f"{name}.jpg")
        write_mat(tmp_path, name, S=blocks((0, 1, 92, 182)).astype(np.uint16))
        with (tmp_path / "imageLists" / f"{split}.txt").open("a") as file:
            file.write(f"{name}\n")
    return tmp_path


def write_mat(root: Path, name: str, **arrays: Any) -> None:
    (root / "annotations" / f"{name}.mat").write_bytes(matlab(compress=True, **arrays))


def test_the_downloaded_layout(original: Path) -> None:
    train, val = CocoStuff10k(original, "train"), CocoStuff10k(original, "val")
    assert [Path(train[i].name).name for i in range(len(train))] == ["b.jpg", "a.jpg"]
    assert [Path(val[i].name).name for i in range(len(val))] == ["c.jpg"]
    assert (train[0].label == blocks((255, 0, 80, 170))).all()
    assert verify(train) == (40, 60)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (
            {"S": np.full((40, 60), 12, np.uint16)},
            r"holds the id 12 \(2400 pixels\), which is no class; label maps of COCO-Stuff",
        ),
        ({"S": np.full((40, 60), 300, np.uint16)}, r"holds the id 300 \(2400 pixels\), which is no class"),
        ({"S": np.ones((30, 60), np.uint16)}, r"is 30x60, its frame b\.jpg is 40x60"),
        ({"S": np.ones((40, 60, 1), np.uint16)}, r"S is \(40, 60, 1\), not height x width"),
        ({"S": np.full((40, 60), 1.5)}, r"S is no label map \(ids from 1.5 to 1.5\); replace it"),
        ({"S": np.full((40, 60), np.nan)}, "S is no label map"),
        ({"T": np.ones((40, 60), np.uint16)}, "holds no label map S "),
    ],
)
def test_a_wrong_matlab_file(original: Path, arrays: dict[str, Any], problem: str) -> None:
    write_mat(original, "b", **arrays)
    with pytest.raises(UserError, match=rf"^{original / 'annotations' / 'b.mat'}: {problem}"):
        verify(CocoStuff10k(original, "train"))


@pytest.mark.parametrize("kept", [0, 60, 127, 140, 200])
def test_a_truncated_matlab_file(original: Path, kept: int) -> None:
    file = original / "annotations" / "b.mat"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"^{file}: holds no label map S .*; copy or download it again$"):
        verify(CocoStuff10k(original, "train"))
