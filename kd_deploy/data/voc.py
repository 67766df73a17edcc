"""PASCAL VOC 2012 (Everingham et al. 2010) and its augmented training set (Hariharan et al. 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kd_deploy.data.folders import FolderDataset, Listing, listed
from kd_deploy.data.labels import LabelIds, pascal_palette, read_indices
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

    title = "VOC 2012"
    layout = (
        "ROOT/JPEGImages, ROOT/SegmentationClass and ROOT/ImageSets/Segmentation/SPLIT.txt, ROOT being "
        "VOCdevkit/VOC2012"
    )
    classes = tuple(CLASSES.split(", "))
    palette = pascal_palette(21)
    ids = LabelIds({id_: id_ for id_ in range(21)}, (IGNORE,), f"VOC has 0 to 20, and {IGNORE} for void")

    @classmethod
    def _list(cls, root: Path, split: str) -> Listing:
        split = cls._choose(split, {name: name for name in ("train", "val", "trainval")})
        root = root / "VOC2012" if (root / "VOC2012").is_dir() else root
        images, masks, augmented = (
            root / name for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug")
        )
        names, more = (root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in (split, "trainaug"))
        cls._require(root, split, images, masks, names)
        augment = split == "train" and augmented.is_dir() and more.is_file()
        names = more if augment else names
        pairs = [(frame, masks / f"{frame.stem}.png") for frame in listed(names, images)]
        if augment:
            pairs = [(f, mask if mask.is_file() else augmented / mask.name) for f, mask in pairs]
        return Listing(pairs, names=names)

    def _read_ids(self, path: Path) -> tuple[NDArray[Any], LabelIds]:
        return read_indices(path), self.ids
