"""The built-in data set: drawn street scenes, kept in memory once drawn, never written."""

from __future__ import annotations

from kd_deploy.config.schema import SyntheticData
from kd_deploy.data.scenes import CLASSES, PALETTE, draw_scene
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame


class Synthetic:
    """`train` and `val` are disjoint ranges of scene numbers under one seed."""

    classes = CLASSES
    palette = PALETTE

    def __init__(self, data: SyntheticData, split: str) -> None:
        ranges = {"train": range(data.train), "val": range(1_000_000, 1_000_000 + data.val)}
        if split not in ranges:
            raise UserError(f"--split {split}: the synthetic data set has train and val only")
        self._data = data
        self._scenes = ranges[split]
        self._drawn: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Frame:
        if index not in self._drawn:
            number = self._scenes[index]
            image, label = draw_scene(self._data.seed, number, self._data.size)
            self._drawn[index] = Frame(f"scene {number}", image, label)
        return self._drawn[index]
