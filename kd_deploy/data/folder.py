"""The user's own data set: pictures, PNGs of class ids, and a file that names the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.classes import read_classes
from kd_deploy.data.folders import FolderDataset, Listing, pictures
from kd_deploy.data.labels import LabelIds, read_indices

CLASSES_FILE = "classes.txt"


class Folder(FolderDataset):
    """ROOT/images/SPLIT with frames, ROOT/masks/SPLIT with a PNG for each at the same place, ROOT/classes.txt.

    Splits are train, val and test. Frames may lie in folders below SPLIT. A label map is a grey PNG of 8 bits or a
    palette PNG, whose indices are the ids; `read_classes` says what stands in classes.txt.
    """

    title = "folder"
    layout = (
        f"ROOT/images/SPLIT/NAME.jpg (or another picture), ROOT/masks/SPLIT/NAME.png and ROOT/{CLASSES_FILE}"
    )
    classes: tuple[str, ...] = ()  # of the class; an instance has those of its file
    palette = np.zeros((0, 3), np.uint8)

    def __init__(
        self,
        root: Path,
        split: str,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
        *,
        partial: bool = False,
    ) -> None:
        super().__init__(root, split, size, short_side, partial=partial)
        classes = read_classes(root / CLASSES_FILE)
        self.classes, self.palette, self.ids = classes.names, classes.palette, classes.ids

    @classmethod
    def _list(cls, root: Path, split: str) -> Listing:
        split = cls._choose(split, {name: name for name in ("train", "val", "test")})
        images, masks = root / "images" / split, root / "masks" / split
        cls._require(root, split, images, masks, root / CLASSES_FILE)
        frames = pictures(images, "**/*")
        pairs = [(frame, masks / frame.relative_to(images).with_suffix(".png")) for frame in frames]
        return Listing(pairs, masks.glob("**/*.png"))

    def _read_ids(self, path: Path) -> tuple[NDArray[Any], LabelIds]:
        return read_indices(path), self.ids
