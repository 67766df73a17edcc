"""ADE20K: 150 classes, of which the file counts from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kd_deploy.data.ade20k import Ade20k
from kd_deploy.data.dataset import verify
from tests.kd_deploy.data.trees import SIZES, blocks, write_ade20k


def test_classes_and_palette() -> None:
    assert len(Ade20k.classes) == len(set(Ade20k.classes)) == 150
    numbers = {
        "wall": 1,
        "bed": 8,
        "person": 13,
        "sofa": 24,
        "lamp": 37,
        "toilet": 66,
        "bus": 81,
        "flag": 150,
    }
    numbers |= {"stairs": 54, "stairway": 60, "traffic light": 137, "crt screen": 142, "clock": 149}
    assert {name: Ade20k.classes.index(name) + 1 for name in numbers} == numbers  # objectInfo150.txt's
    assert Ade20k.palette[[0, 12, 20, 149]].tolist() == [
        [120, 120, 120],
        [150, 5, 61],
        [0, 102, 200],
        [92, 0, 255],
    ]
    assert len(np.unique(Ade20k.palette, axis=0)) == 149  # road and skyscraper share a grey


def test_zero_is_ignored_and_the_rest_counts_from_zero(tmp_path: Path) -> None:
    train = Ade20k(write_ade20k(tmp_path), "train")
    assert len(train) == 3
    for number, size in enumerate(SIZES[:3]):
        assert (train[number].label == blocks((255, 0, 12, 149), size)).all()
    assert verify(train) is None
