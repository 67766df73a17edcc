"""What all data sets on disk share: frames and label maps in pairs of files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.labels import Label, LabelIds
from kd_deploy.data.problems import DataError
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.images import SUFFIXES, read_image, read_label
from kd_deploy.runtime.segment import labels_to_size, to_size

Pair = tuple[Path, Path]
"""A frame's file and its label map's."""

Content = TypeVar("Content")

_SHOWN_IDS = 8


@dataclass(frozen=True)
class Listing:
    """The files of a split.

    Attributes:
        pairs: in a fixed order; files of a pair may be missing.
        masks: the label maps that lie there, each of which should have a frame; walked when it is asked for.
        names: the list that names the frames; None: they are what lies in their folder.
    """

    pairs: Sequence[Pair]
    masks: Iterable[Path] = ()
    names: Path | None = None

    def absent(self, frame: Path, mask: Path) -> Iterator[DataError]:
        """What is missing of a pair."""
        if not frame.is_file():
            named = f", though {self.names} names it" if self.names else ""
            yield DataError("missing frame", frame, f"is missing{named}; add the frame")
        if not mask.is_file():
            what = f"lacks its mask {mask}; add the mask or take the frame out"
            yield DataError("missing mask", frame, what)

    def orphans(self) -> Iterator[DataError]:
        """The label maps without a frame, which training leaves alone."""
        for mask in sorted({*self.masks} - {mask for _, mask in self.pairs}):
            yield DataError("missing frame", mask, "has no frame; add the frame or take the mask out")


@dataclass(frozen=True)
class Reading:
    """What a pair holds, at its own size, and all that is wrong with it.

    Attributes:
        image: (H, W, 3) uint8 BGR; None where it cannot be read.
        label: (H, W) uint8 class ids, 255 = ignored or unknown; None where it cannot be read.
    """

    image: NDArray[np.uint8] | None
    label: Label | None
    problems: Sequence[DataError]


class FolderDataset(ABC):
    """Frames and label maps below a folder; a data set says which files make pairs and what their ids mean.

    Attributes:
        title: what messages call the data set.
        layout: which files it expects below ROOT, for a SPLIT.
        classes: class names by id.
        palette: (C, 3) uint8, RGB.
        ids: what the ids in its label maps mean.
        listing: the files of the split.
    """

    title: ClassVar[str]
    layout: ClassVar[str]
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    ids: LabelIds

    def __init__(
        self,
        root: Path,
        split: str,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
        *,
        partial: bool = False,
    ) -> None:
        """List the pairs.

        Args:
            root: the data set's folder.
            split: train, val, or another that the data set has.
            size: height and width that every frame and label map is resized to; None: as on disk, or
            short_side: as many pixels for the shorter side, the shape kept.
            partial: take pairs of which a file is missing; `inspect` will tell.

        Raises:
            UserError: no such split.
            DataError: the folders are missing or empty, or a pair is not whole.
        """
        self.listing = self._list(root, split)
        self._size, self._short_side = size, short_side
        missing = [] if partial else [e for pair in self.listing.pairs for e in self.listing.absent(*pair)]
        if len(missing) > 1:
            first, more = missing[0], len(missing) - 1
            raise UserError(f"{first} ({more} more are missing; `kd-deploy data check` lists them)")
        if missing:
            raise missing[0]

    @classmethod
    @abstractmethod
    def _list(cls, root: Path, split: str) -> Listing:
        """The files of the split; the frames that no list names are there."""

    def _read_ids(self, path: Path) -> tuple[NDArray[Any], LabelIds]:
        """The ids (H, W) uint8 or uint16 in a label map, and what they mean."""
        return read_label(path), self.ids

    def __len__(self) -> int:
        return len(self.listing.pairs)

    def __getitem__(self, index: int) -> Frame:
        """Read a pair.

        Raises:
            DataError: a file is missing or damaged, the sizes differ, or an id is none of the classes.
        """
        reading = self.inspect(index)
        if reading.problems or reading.image is None or reading.label is None:
            raise reading.problems[0]
        size = self._target(reading.label.shape)
        name = str(self.listing.pairs[index][0])
        return Frame(name, to_size(reading.image, size), labels_to_size(reading.label, size))

    def inspect(self, index: int) -> Reading:
        """Read a pair and find every problem that it has."""
        frame, mask = self.listing.pairs[index]
        problems: list[DataError] = []
        image = _attempt(read_image, frame, problems)
        read = _attempt(self._read_ids, mask, problems)
        if image is None or read is None:  # a file that is not there could not be read either
            problems = [*self.listing.absent(frame, mask), *(p for p in problems if p.path.is_file())]
        label = None
        if read is not None:
            label, unknown = read[1].to_classes(read[0])
            if unknown:
                problems.append(_unknown_ids(mask, unknown, read[1].legend))
        if image is not None and label is not None and image.shape[:2] != label.shape:
            what = (
                f"is {label.shape[0]}x{label.shape[1]}, its frame {frame.name} is "
                f"{image.shape[0]}x{image.shape[1]}; mask and frame must have one size"
            )
            problems.append(DataError("size mismatch", mask, what))
        return Reading(image, label, problems)

    def _target(self, shape: tuple[int, ...]) -> tuple[int, int]:
        height, width = shape
        if self._size is not None:
            return self._size
        scale = 1.0 if self._short_side is None else self._short_side / min(height, width)
        return round(scale * height), round(scale * width)

    @classmethod
    def _require(cls, root: Path, split: str, *paths: Path) -> None:
        """Raise a DataError with the expected layout, and with what there is, unless all `paths` are there."""
        for path in paths:
            if not path.exists():
                there = (
                    ", ".join(sorted(p.name for p in root.iterdir())) if root.is_dir() else "no such folder"
                )
                what = (
                    f"is missing ({root}: {there or 'empty'}); the layout of {cls.title} is "
                    f"{cls.layout.replace('SPLIT', split)}: --set data.root=ROOT (or --data ROOT)"
                )
                raise DataError("layout", path, what)

    @classmethod
    def _choose(cls, split: str, folders: Mapping[str, str]) -> str:
        """What a split is called on disk.

        Raises:
            UserError: there is no such split.
        """
        if split not in folders:
            raise UserError(f"--split {split}: {cls.title} has {', '.join(folders)}")
        return folders[split]


def _attempt(read: Callable[[Path], Content], path: Path, problems: list[DataError]) -> Content | None:
    try:
        return read(path)
    except UserError as error:
        problems.append(DataError("unreadable file", path, str(error).removeprefix(f"{path}: ")))
        return None


def _unknown_ids(mask: Path, unknown: Mapping[int, int], legend: str) -> DataError:
    shown = [f"{id_} ({pixels} pixels)" for id_, pixels in list(unknown.items())[:_SHOWN_IDS]]
    more = f" and {len(unknown) - _SHOWN_IDS} more" if len(unknown) > _SHOWN_IDS else ""
    ids = "the id" if len(unknown) == 1 else "the ids"
    no_class = "which is no class" if len(unknown) == 1 else "which are no classes"
    return DataError(
        "unknown id", mask, f"holds {ids} {', '.join(shown)}{more}, {no_class}; {legend}", unknown
    )


def pictures(folder: Path, pattern: str = "*") -> list[Path]:
    """The pictures in a folder, sorted.

    Raises:
        DataError: there are none.
    """
    found = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES)
    if not found:
        what = pattern if "." in pattern else ", ".join(SUFFIXES)
        raise DataError("empty split", folder, f"holds no pictures ({what}); put the frames there")
    return found


def listed(file: Path, images: Path) -> list[Path]:
    """The frames images/NAME.jpg of a list with a NAME in each line, in its order, whether they are there or not.

    Raises:
        DataError: the list cannot be read or is empty.
    """
    try:
        names = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read ({error}); copy or download it again"
        raise DataError("unreadable file", file, what) from error
    if not names:
        raise DataError("empty split", file, "names no frame; copy or download it again")
    return [images / f"{name}.jpg" for name in names]
