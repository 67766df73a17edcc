"""Cityscapes as it is downloaded (Cordts et al. 2016, arXiv 1604.01685), its 19 classes of the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.folders import FolderDataset, Listing, pictures
from kd_deploy.data.labels import LabelIds
from kd_deploy.runtime.frames import IGNORE
from kd_deploy.runtime.images import read_label

CLASSES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id in *_labelIds.png of each class (cityscapesScripts, helpers/labels.py); the rest of 0 to 33 is ignored."""

_TRAIN_IDS = LabelIds(
    {id_: id_ for id_ in range(len(CLASSES))},
    (IGNORE,),
    f"train ids of Cityscapes are 0 to {len(CLASSES) - 1}, and {IGNORE} for ignored",
)


class Cityscapes(FolderDataset):
    """ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and ROOT/gtFine/SPLIT/CITY/*_gtFine_labelIds.png.

    A frame without *_labelIds.png may have the *_labelTrainIds.png that cityscapesScripts makes of it. The
    public label maps of `test` are ignored all over: only the benchmark's server scores it.
    """

    title = "Cityscapes"
    layout = "ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and ROOT/gtFine/SPLIT/CITY/*_gtFine_labelIds.png"
    classes = tuple(CLASSES)
    palette = np.array(list(CLASSES.values()), np.uint8)
    ids = LabelIds(
        {id_: number for number, id_ in enumerate(LABEL_IDS)},
        (*(id_ for id_ in range(34) if id_ not in LABEL_IDS), IGNORE),
        f"label ids of Cityscapes are 0 to 33, and {IGNORE} for ignored",
    )

    @classmethod
    def _list(cls, root: Path, split: str) -> Listing:
        split = cls._choose(split, {name: name for name in ("train", "val", "test")})
        images, masks = root / "leftImg8bit" / split, root / "gtFine" / split
        cls._require(root, split, images, masks)
        frames = pictures(images, "*/*_leftImg8bit.png")
        pairs = [(frame, _mask(masks / frame.parent.name / frame.name)) for frame in frames]
        return Listing(pairs, map(_mask, masks.glob("*/*_gtFine_label*Ids.png")))

    def _read_ids(self, path: Path) -> tuple[NDArray[Any], LabelIds]:
        return read_label(path), _TRAIN_IDS if path.stem.endswith("labelTrainIds") else self.ids


def _mask(path: Path) -> Path:
    """The label map of the frame whose name that of `path` begins with, in the same folder."""
    stem = path.name.partition("_leftImg8bit")[0].partition("_gtFine")[0]
    label, train = (path.with_name(f"{stem}_gtFine_{kind}.png") for kind in ("labelIds", "labelTrainIds"))
    return train if train.is_file() and not label.is_file() else label
