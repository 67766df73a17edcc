"""What all data sets on disk share: frames and label maps in pairs of files, and the ids in the latter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import SUFFIXES, read_image, read_label
from kd_deploy.runtime.segment import labels_to_size, to_size

Label = NDArray[np.uint8]
Pair = tuple[Path, Path]
"""A frame's file and its label map's."""

_UNKNOWN = -1


class LabelIds:
    """The ids that may stand in a data set's label maps, and the class of each.

    Args:
        classes: the id in the file -> the class id.
        ignored: ids of pixels that do not count.
        legend: what a message says of both, such as "CamVid has 0 to 10, and 11 or 255 for void".
    """

    def __init__(self, classes: Mapping[int, int], ignored: Iterable[int], legend: str) -> None:
        self._legend = legend
        self._table: NDArray[np.int16] = np.full(1 << 16, _UNKNOWN, np.int16)
        self._table[list(ignored)] = IGNORE
        self._table[list(classes)] = list(classes.values())

    def to_classes(self, ids: NDArray[Any], path: Path) -> Label:
        """The class ids (H, W) uint8, 255 = ignored, of a label map's ids (H, W) uint8 or uint16.

        Raises:
            UserError: an id is none of the data set's.
        """
        labels = self._table[ids]
        unknown = ids[labels == _UNKNOWN]
        if unknown.size:
            raise UserError(f"{path}: holds the id {unknown.min()}, which is no class; {self._legend}")
        result: Label = labels.astype(np.uint8)
        return result


class FolderDataset(ABC):
    """Frames and label maps below a folder; a data set says which files make pairs and what their ids mean.

    Attributes:
        classes: class names by id.
        palette: (C, 3) uint8, RGB.
        ids: what the ids in its label maps mean.
    """

    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    ids: LabelIds

    def __init__(
        self, root: Path, split: str, size: tuple[int, int] | None = None, short_side: int | None = None
    ) -> None:
        """List the pairs.

        Args:
            root: the data set's folder.
            split: train, val, or another that the data set has.
            size: height and width that every frame and label map is resized to; None: as on disk, or
            short_side: as many pixels for the shorter side, the shape kept.

        Raises:
            UserError: no such split, the folders are missing or empty, or a frame has no label map.
        """
        self._pairs = self._list(root, split)
        missing = [(frame, mask) for frame, mask in self._pairs if not mask.is_file()]
        if missing:
            frame, mask = missing[0]
            more = f", and so do {len(missing) - 1} more frames" if len(missing) > 1 else ""
            raise UserError(f"{frame}: lacks its mask {mask}{more}; add the mask or take the frame out")
        self._size, self._short_side = size, short_side

    @classmethod
    @abstractmethod
    def _list(cls, root: Path, split: str) -> list[Pair]:
        """The split's pairs in a fixed order; the frames are there, the label maps may be missing."""

    def _label(self, path: Path) -> Label:
        """The class ids of a label map, at its own size."""
        return self.ids.to_classes(read_label(path), path)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Frame:
        """Read a pair.

        Raises:
            UserError: a file is damaged, the sizes differ, or an id is none of the classes.
        """
        image_path, mask_path = self._pairs[index]
        image, label = read_image(image_path), self._label(mask_path)
        if image.shape[:2] != label.shape:
            raise UserError(
                f"{mask_path}: is {label.shape[0]}x{label.shape[1]}, its frame {image_path.name} is "
                f"{image.shape[0]}x{image.shape[1]}; mask and frame must have one size"
            )
        size = self._target(label.shape)
        return Frame(str(image_path), to_size(image, size), labels_to_size(label, size))

    def _target(self, shape: tuple[int, ...]) -> tuple[int, int]:
        height, width = shape
        if self._size is not None:
            return self._size
        scale = 1.0 if self._short_side is None else self._short_side / min(height, width)
        return round(scale * height), round(scale * width)


def choose(split: str, folders: Mapping[str, str], name: str) -> str:
    """What a split is called on disk.

    Raises:
        UserError: the data set `name` has no such split.
    """
    if split not in folders:
        raise UserError(f"--split {split}: {name} has {', '.join(folders)}")
    return folders[split]


def check_folders(root: Path, layout: str, *folders: Path) -> None:
    """Raise a UserError with the expected `layout`, and with what there is, unless all `folders` are there."""
    for folder in folders:
        if not folder.exists():
            there = ", ".join(sorted(p.name for p in root.iterdir())) if root.is_dir() else "no such folder"
            raise UserError(
                f"{folder}: is missing ({root}: {there or 'empty'}); {layout}: "
                "--set data.root=ROOT (or --data ROOT)"
            )


def pictures(folder: Path, pattern: str = "*") -> list[Path]:
    """The pictures in a folder, sorted.

    Raises:
        UserError: there are none.
    """
    found = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES)
    if not found:
        what = ", ".join(SUFFIXES) if pattern == "*" else pattern
        raise UserError(f"{folder}: holds no pictures ({what}); put the frames there")
    return found


def listed(file: Path, images: Path) -> list[Path]:
    """The frames images/NAME.jpg of a list with a NAME in each line, in its order.

    Raises:
        UserError: the list cannot be read or is empty, or a frame is missing.
    """
    try:
        names = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); copy or download it again") from error
    if not names:
        raise UserError(f"{file}: names no frame; copy or download it again")
    frames = [images / f"{name}.jpg" for name in names]
    missing = [frame for frame in frames if not frame.is_file()]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}: is missing, though {file} names it{more}; add the frame")
    return frames


def pascal_palette(count: int) -> NDArray[np.uint8]:
    """The first `count` <= 256 colours of PASCAL VOC's map, (count, 3) uint8 RGB, all distinct.

    Bit k of a colour's red, green and blue, from the highest on, is bit 3k, 3k + 1 and 3k + 2 of its number.
    """
    number, k = np.arange(count)[:, None, None], np.arange(8)
    bits = number >> (3 * k + np.arange(3)[:, None]) & 1  # (count, 3, 8)
    colors: NDArray[np.uint8] = (bits << (7 - k)).sum(axis=2).astype(np.uint8)
    return colors
