"""PASCAL VOC 2012 (Everingham et al. 2010) and its augmented training set (Hariharan et al. 2011)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_deploy.data.folders import (
    FolderDataset,
    Label,
    LabelIds,
    Pair,
    check_folders,
    choose,
    listed,
    pascal_palette,
)
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE

CLASSES = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, "
    "motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)


class Voc(FolderDataset):
    """ROOT/JPEGImages, ROOT/SegmentationClass and the lists in ROOT/ImageSets/Segmentation.

    ROOT is VOCdevkit/VOC2012, or VOCdevkit. Splits are train (1464 frames), val (1449) and trainval.
    Where ROOT/SegmentationClassAug and ImageSets/Segmentation/trainaug.txt are there, `train` is the augmented
    set of 10582 frames that all results of today are trained on: the label map of VOC where there is one,
    else the one in SegmentationClassAug, as MMSegmentation joins them. Id 255, void, is ignored.
    """

    classes = tuple(CLASSES.split(", "))
    palette = pascal_palette(21)
    ids = LabelIds({id_: id_ for id_ in range(21)}, (IGNORE,), f"VOC has 0 to 20, and {IGNORE} for void")

    @classmethod
    def _list(cls, root: Path, split: str) -> list[Pair]:
        split = choose(split, {name: name for name in ("train", "val", "trainval")}, "VOC 2012")
        root = root / "VOC2012" if (root / "VOC2012").is_dir() else root
        images, masks, augmented = (
            root / name for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug")
        )
        names, more = (root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in (split, "trainaug"))
        layout = (
            "the layout of VOC 2012 is ROOT/JPEGImages, ROOT/SegmentationClass and "
            f"ROOT/ImageSets/Segmentation/{split}.txt, ROOT being VOCdevkit/VOC2012"
        )
        check_folders(root, layout, images, masks, names)
        if split == "train" and augmented.is_dir() and more.is_file():
            pairs = [(frame, masks / f"{frame.stem}.png") for frame in listed(more, images)]
            return [(f, mask if mask.is_file() else augmented / mask.name) for f, mask in pairs]
        return [(frame, masks / f"{frame.stem}.png") for frame in listed(names, images)]

    def _label(self, path: Path) -> Label:
        return self.ids.to_classes(_read_indices(path), path)


def _read_indices(path: Path) -> NDArray[np.uint8]:
    """The indices (H, W) uint8 of a palette PNG, or the values of a grey one: OpenCV would give the colours.

    Raises:
        UserError: the file is missing or damaged, or has more than one channel.
    """
    try:
        with Image.open(path) as picture:
            indices = np.array(picture)
            mode = picture.mode
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: a broken PNG chunk
        raise UserError(f"{path}: cannot be decoded ({error}); copy or download it again") from error
    if mode not in ("P", "L"):
        raise UserError(
            f"{path}: is no label map ({mode} picture); it must be a PNG of class ids, with or without a palette"
        )
    return indices
