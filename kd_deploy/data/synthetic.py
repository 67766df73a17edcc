"""The built-in data set: drawn street scenes, kept in memory once drawn, never written."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from kd_deploy.config.data import SyntheticData
from kd_deploy.data.scenes import CLASSES, PALETTE, draw_scene
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame

FIRST_VAL = 1_000_000
"""Number of the first validation scene: no training set reaches it."""

CACHE_BYTES = 256 * 2**20
"""Of drawn scenes that a process keeps, the latest used: 2048 of 128x256. Data loader workers are processes."""


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
        return _drawing(self._data.size)(self._data.seed, self._numbers[index])


@lru_cache(maxsize=1)  # runs of one size share their scenes, as a demo's three do; another size drops them
def _drawing(size: tuple[int, int]) -> Callable[[int, int], Frame]:
    height, width = size

    @lru_cache(maxsize=CACHE_BYTES // (4 * height * width))  # 3 bytes of picture and 1 of label
    def draw(seed: int, number: int) -> Frame:
        image, label = draw_scene(seed, number, size)
        image.flags.writeable = label.flags.writeable = False
        return Frame(f"scene {number}", image, label)

    return draw
