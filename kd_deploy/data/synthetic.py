"""The built-in data set: drawn street scenes, kept in memory once drawn, never written."""

from __future__ import annotations

from functools import lru_cache

from kd_deploy.config.schema import SyntheticData
from kd_deploy.data.scenes import CLASSES, PALETTE, draw_scene
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame

FIRST_VAL = 1_000_000
"""Number of the first validation scene: no training set reaches it."""


class Synthetic:
    """`train` and `val` are disjoint ranges of scene numbers under one seed."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, data: SyntheticData, split: str) -> None:
        ranges = {"train": range(data.train), "val": range(FIRST_VAL, FIRST_VAL + data.val)}
        if split not in ranges:
            raise UserError(f"--split {split}: the synthetic data set has train and val only")
        self._data = data
        self._numbers = ranges[split]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Frame:
        return _draw(self._data.seed, self._numbers[index], self._data.size)


@lru_cache(maxsize=1024)  # 130 MB at 128x256; the three runs of a demo share them
def _draw(seed: int, number: int, size: tuple[int, int]) -> Frame:
    image, label = draw_scene(seed, number, size)
    image.flags.writeable = label.flags.writeable = False
    return Frame(f"scene {number}", image, label)
