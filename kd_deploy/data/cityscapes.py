"""Cityscapes as it is downloaded (Cordts et al. 2016, arXiv 1604.01685), its 19 classes of the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kd_deploy.data.folders import FolderDataset, Label, LabelIds, Pair, check_folders, choose, pictures
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

    classes = tuple(CLASSES)
    palette = np.array(list(CLASSES.values()), np.uint8)
    ids = LabelIds(
        {id_: number for number, id_ in enumerate(LABEL_IDS)},
        (*(id_ for id_ in range(34) if id_ not in LABEL_IDS), IGNORE),
        f"label ids of Cityscapes are 0 to 33, and {IGNORE} for ignored",
    )

    @classmethod
    def _list(cls, root: Path, split: str) -> list[Pair]:
        split = choose(split, {name: name for name in ("train", "val", "test")}, "Cityscapes")
        images, masks = root / "leftImg8bit" / split, root / "gtFine" / split
        layout = (
            f"the layout of Cityscapes is ROOT/leftImg8bit/{split}/CITY/*_leftImg8bit.png and "
            f"ROOT/gtFine/{split}/CITY/*_gtFine_labelIds.png"
        )
        check_folders(root, layout, images, masks)
        frames = pictures(images, "*/*_leftImg8bit.png")
        return [(frame, _mask(frame, masks)) for frame in frames]

    def _label(self, path: Path) -> Label:
        ids = _TRAIN_IDS if path.stem.endswith("labelTrainIds") else self.ids
        return ids.to_classes(read_label(path), path)


def _mask(frame: Path, masks: Path) -> Path:
    stem = masks / frame.parent.name / frame.name.removesuffix("_leftImg8bit.png")
    label, train = (Path(f"{stem}_gtFine_{kind}.png") for kind in ("labelIds", "labelTrainIds"))
    return train if train.is_file() and not label.is_file() else label
