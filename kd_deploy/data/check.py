"""Walk a whole data set: every problem that it has, and what its label maps hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.dataset import READERS, read_ahead
from kd_deploy.data.folders import FolderDataset
from kd_deploy.data.problems import DataError
from kd_deploy.progress import Progress
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE

Counts = NDArray[np.int64]
Size = tuple[int, int]
"""Height and width in pixels."""


def _no_counts() -> Counts:
    return np.zeros(256, np.int64)


@dataclass
class SplitCounts:
    """What the readable files of a split hold.

    Attributes:
        frames: in the split, readable or not.
        sizes: frames of each size.
        labels: label maps that could be read.
        pixels: (256,) int64: pixels of each class id; 255: ignored.
        containing: (256,) int64: label maps in which each class id occurs.
        unknown: pixels of ids that are no class.
    """

    frames: int = 0
    sizes: Counter[Size] = field(default_factory=Counter)
    labels: int = 0
    pixels: Counts = field(default_factory=_no_counts)
    containing: Counts = field(default_factory=_no_counts)
    unknown: int = 0

    def __add__(self, other: SplitCounts) -> SplitCounts:
        return SplitCounts(
            self.frames + other.frames,
            self.sizes + other.sizes,
            self.labels + other.labels,
            self.pixels + other.pixels,
            self.containing + other.containing,
            self.unknown + other.unknown,
        )

    @property
    def ignored_percent(self) -> float | None:
        """Of all pixels."""
        return _percent(self.pixels[IGNORE], self.pixels.sum() + self.unknown)

    def pixel_percent(self, class_id: int) -> float | None:
        """Of the pixels that have a class."""
        return _percent(self.pixels[class_id], self.pixels[:IGNORE].sum())

    def frame_percent(self, class_id: int) -> float | None:
        """Of the label maps, those in which the class occurs."""
        return _percent(self.containing[class_id], self.labels)

    def extremes(self) -> dict[str, Size]:
        """The most common, the smallest and the largest size; nothing where no frame can be read."""
        if not self.sizes:
            return {}
        by_area = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        common = max(by_area, key=self.sizes.__getitem__)
        return {"most_common": common, "smallest": by_area[0], "largest": by_area[-1]}


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        classes: class names by id.
        palette: (C, 3) uint8, RGB.
        splits: what each split holds.
        problems: each with its split, in the order of the files.
    """

    root: Path
    format: str
    classes: Sequence[str]
    palette: NDArray[np.uint8]
    splits: Mapping[str, SplitCounts]
    problems: Sequence[tuple[str, DataError]]

    def total(self) -> SplitCounts:
        """All splits together."""
        return sum(self.splits.values(), SplitCounts())

    def absent(self, split: str) -> list[str]:
        """The classes that never occur in a split."""
        counts = self.splits[split].pixels
        return [name for class_id, name in enumerate(self.classes) if not counts[class_id]]

    def to_json(self) -> dict[str, Any]:
        """Everything; shares are percent, None where nothing could be counted."""
        return {
            "root": str(self.root),
            "format": self.format,
            "problems": [_problem(split, error) for split, error in self.problems],
            "splits": {name: self._split(name, counts) for name, counts in self.splits.items()},
        }

    def _split(self, name: str, counts: SplitCounts) -> dict[str, Any]:
        classes = {
            class_name: {
                "pixels": int(counts.pixels[class_id]),
                "pixel_percent": counts.pixel_percent(class_id),
                "frames": int(counts.containing[class_id]),
                "frame_percent": counts.frame_percent(class_id),
            }
            for class_id, class_name in enumerate(self.classes)
        }
        return {
            "frames": counts.frames,
            "sizes": {"different": len(counts.sizes), **counts.extremes()},
            "ignored_percent": counts.ignored_percent,
            "absent": self.absent(name),
            "classes": classes,
        }


def check(root: Path, data_format: str, splits: Iterable[str]) -> Report:
    """Decode every file of a data set on disk.

    Args:
        data_format: a key of `READERS`.

    Raises:
        UserError: there is no folder `root`, or what it says of its classes is wrong.
    """
    reader = READERS[data_format]
    if not root.is_dir():
        raise UserError(f"{root}: is no folder; pass the folder of the data set")
    counted: dict[str, SplitCounts] = {}
    problems: dict[tuple[str, Path], tuple[str, DataError]] = {}  # splits may share files: each problem once
    described: type[FolderDataset] | FolderDataset = reader
    for split in dict.fromkeys(splits):
        counted[split] = SplitCounts()
        try:
            dataset = reader(root, split, partial=True)
        except DataError as error:
            found: list[DataError] = [error]
        else:
            described = dataset
            counted[split], found = _walk(dataset, split)
        for problem in found:
            problems.setdefault((problem.kind, problem.path), (split, problem))
    return Report(root, data_format, described.classes, described.palette, counted, [*problems.values()])


def _walk(dataset: FolderDataset, split: str) -> tuple[SplitCounts, list[DataError]]:
    total = SplitCounts()
    problems: list[DataError] = []
    with Progress(f"check {split}", len(dataset)) as progress:
        readings = read_ahead(partial(_count, dataset), range(len(dataset)), threads=cores())
        for number, (counts, found) in enumerate(readings, start=1):
            total += counts
            problems += found
            progress.advance(number)
    return total, [*problems, *dataset.listing.orphans()]


def _count(dataset: FolderDataset, index: int) -> tuple[SplitCounts, Sequence[DataError]]:
    reading = dataset.inspect(index)
    counts = SplitCounts(frames=1)
    if reading.image is not None:
        height, width = reading.image.shape[:2]
        counts.sizes[height, width] = 1
    if reading.label is not None:
        counts.labels = 1
        counts.pixels = np.bincount(reading.label.ravel(), minlength=256)
        counts.unknown = sum(sum(error.ids.values()) for error in reading.problems)
        counts.pixels[IGNORE] -= counts.unknown  # a label map says 255 for both
        counts.containing = (counts.pixels > 0).astype(np.int64)
    return counts, reading.problems


def _percent(part: Any, whole: Any) -> float | None:
    return 100.0 * float(part) / float(whole) if whole else None


def _problem(split: str, error: DataError) -> dict[str, Any]:
    result = {"kind": error.kind, "split": split, "file": str(error.path), "problem": str(error)}
    return result | ({"ids": error.ids} if error.ids else {})
