"""Cityscapes: label ids become train ids, whichever of its two files a frame has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kd_deploy.data.cityscapes import CLASSES, LABEL_IDS, Cityscapes
from kd_deploy.data.dataset import verify
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.data.trees import blocks, write_cityscapes, write_label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cityscapes(tmp_path)


def test_classes_are_the_nineteen_of_the_benchmark() -> None:
    assert len(CLASSES) == len(LABEL_IDS) == 19
    by_id = dict(zip(LABEL_IDS, CLASSES, strict=True))
    assert (by_id[7], by_id[17], by_id[24], by_id[26], by_id[33]) == (
        "road",
        "pole",
        "person",
        "car",
        "bicycle",
    )
    assert CLASSES["sky"] == (70, 130, 180)


def test_frames_of_every_city_in_order(root: Path) -> None:
    train = Cityscapes(root, "train")
    assert [Path(train[i].name).name[:13] for i in range(len(train))] == [
        "aachen_000000",
        "aachen_000001",
        "ulm_000000_00",
        "ulm_000001_00",
    ]
    assert (len(Cityscapes(root, "val")), len(Cityscapes(root, "test"))) == (2, 2)
    assert verify(train) == (40, 60)


def test_label_ids_become_train_ids(root: Path) -> None:
    label = Cityscapes(root, "train")[0].label
    assert (label == blocks((255, 0, 13, 18))).all()
    file = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    write_label(file, np.arange(34, dtype=np.uint8).repeat(80).reshape(34, 80)[:, :60].repeat(2, 0)[:40])
    label = Cityscapes(root, "train")[0].label
    assert label is not None
    assert label[::2, 0].tolist() == [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6]


def test_train_ids_serve_where_label_ids_are_absent(root: Path) -> None:
    folder = root / "gtFine/val/lindau"
    write_label(folder / "lindau_000000_000019_gtFine_labelTrainIds.png", blocks((18, 3, 255)))
    label = Cityscapes(root, "val")[0].label
    assert (label == blocks((255, 0, 13, 18))).all()  # labelIds go first
    (folder / "lindau_000000_000019_gtFine_labelIds.png").unlink()
    label = Cityscapes(root, "val")[0].label
    assert (label == blocks((18, 3, 255))).all()
    write_label(folder / "lindau_000000_000019_gtFine_labelTrainIds.png", blocks((18, 19)))
    with pytest.raises(
        UserError, match=r"holds the id 19 \(1200 pixels\), which is no class; train ids of Cityscapes are 0"
    ):
        verify(Cityscapes(root, "val"))
