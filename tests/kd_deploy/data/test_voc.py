"""PASCAL VOC: indices of palette PNGs, the lists, the augmented training set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kd_deploy.data.dataset import verify
from kd_deploy.data.voc import Voc
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.data.trees import SIZES, blocks, write_label, write_voc


def names(dataset: Voc) -> str:
    return "".join(Path(dataset[i].name).stem for i in range(len(dataset)))


def test_classes_and_palette() -> None:
    assert len(Voc.classes) == 21
    assert (Voc.classes[0], Voc.classes[15], Voc.classes[20]) == ("background", "person", "tvmonitor")
    assert Voc.palette[15].tolist() == [192, 128, 128]


def test_a_palettes_indices_are_the_ids(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    train = Voc(root, "train")
    for number in range(4):
        assert (train[number].label == blocks((0, 1 + number, 20, 255), SIZES[number])).all()
    write_label(root / "SegmentationClass" / "a.png", blocks((3, 255)))  # a grey PNG
    assert (train[0].label == blocks((3, 255))).all()
    write_label(root / "SegmentationClass" / "a.png", blocks((0, 1), SIZES[0]) > 0)  # one bit a pixel
    with pytest.raises(UserError, match=r"a\.png: is no label map \(1 picture\)"):
        train[0]


def test_the_lists_say_what_a_split_is(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    assert names(Voc(root, "train")) == "abcd"
    assert names(Voc(tmp_path, "val")) == "efgh"  # VOCdevkit
    assert names(Voc(root, "trainval")) == "abcdefgh"
    assert verify(Voc(root, "train")) is None
    (root / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(UserError, match=r"train\.txt: is missing \(.*VOC2012: ImageSets, JPEGImages, Segmen"):
        Voc(root, "train")


def test_the_augmented_set_is_for_training_alone(tmp_path: Path) -> None:
    root = write_voc(tmp_path, augmented=True)
    train = Voc(root, "train")
    assert names(train) == "dcbaij"
    assert (train[3].label == blocks((0, 1, 20, 255))).all()  # VOC's own goes first
    assert (train[4].label == blocks((15, 0))).all()
    assert names(Voc(root, "val")) == "efgh"
    (root / "SegmentationClassAug" / "j.png").unlink()
    with pytest.raises(UserError, match=r"j\.jpg: lacks its mask .*SegmentationClassAug.j\.png; add"):
        Voc(root, "train")
    (root / "ImageSets/Segmentation/trainaug.txt").unlink()
    assert names(Voc(root, "train")) == "abcd"


def test_a_file_that_is_no_picture(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    (root / "SegmentationClass" / "a.png").write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded .*; copy or download it again"):
        verify(Voc(root, "train"))
