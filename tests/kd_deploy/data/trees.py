"""Tiny data sets in their official layouts: noise as frames, ids in blocks as label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_deploy.data.labels import pascal_palette

Array = NDArray[np.uint8]

SIZES = ((40, 60), (48, 32), (56, 56), (40, 60))
"""Of the frames of data sets whose frames differ in size."""


def blocks(ids: Sequence[int], size: tuple[int, int] = (40, 60)) -> Array:
    """A label map (H, W) whose columns hold `ids` from left to right."""
    columns = np.array(ids)[np.arange(size[1]) * len(ids) // size[1]]
    return np.broadcast_to(columns, size).astype(np.uint8)


def write_frame(path: Path, size: tuple[int, int] = (40, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8))


def write_label(path: Path, label: Array, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(label)
    if palette:
        picture.putpalette(pascal_palette(256).tobytes())
    picture.save(path)


def write_cityscapes(root: Path) -> Path:
    for split, cities in (("train", ("aachen", "ulm")), ("val", ("lindau",)), ("test", ("berlin",))):
        for city in cities:
            for name in (f"{city}_000000_000019", f"{city}_000001_000019"):
                write_frame(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
                write_label(
                    root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", blocks((0, 7, 26, 33))
                )
    return root


def write_voc(root: Path, *, augmented: bool = False) -> Path:
    """VOCdevkit/VOC2012: a to d in train, e to h in val, and i, j in the augmented training set alone."""
    root = root / "VOC2012"
    splits = {"train": "abcd", "val": "efgh", "trainval": "abcdefgh"}
    if augmented:
        splits["trainaug"] = "dcbaij"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in splits.items():
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
    for number, name in enumerate("abcdefgh"):
        write_frame(root / "JPEGImages" / f"{name}.jpg", SIZES[number % 4])
        label = blocks((0, 1 + number, 20, 255), SIZES[number % 4])
        write_label(root / "SegmentationClass" / f"{name}.png", label, palette=True)
    for name in "abij" if augmented else "":
        if name in "ij":
            write_frame(root / "JPEGImages" / f"{name}.jpg")
        write_label(root / "SegmentationClassAug" / f"{name}.png", blocks((15, 0)))
    return root


def write_ade20k(root: Path) -> Path:
    for split, folder in (("train", "training"), ("val", "validation")):
        for number, size in enumerate(SIZES[:3]):
            name = f"ADE_{split}_{number:08d}"
            write_frame(root / "images" / folder / f"{name}.jpg", size)
            write_label(root / "annotations" / folder / f"{name}.png", blocks((0, 1, 13, 150), size))
    return root


def write_coco_stuff(root: Path) -> Path:
    """As MMSegmentation's converter writes it."""
    for split in ("train2014", "test2014"):
        for number, size in enumerate(SIZES[:3]):
            name = f"COCO_train2014_{number:012d}"
            write_frame(root / "images" / split / f"{name}.jpg", size)
            write_label(
                root / "annotations" / split / f"{name}_labelTrainIds.png", blocks((0, 1, 81, 171), size)
            )
    return root


CLASSES = """\
# what the rover sees
ground: #804000
rock
sky: #80c0ff
ignore: 255
"""


def write_folder(root: Path) -> Path:
    """The user's own: frames in nested folders and of several suffixes, grey and palette label maps."""
    (root / "images").mkdir(parents=True)
    (root / "classes.txt").write_text(CLASSES)
    for split in ("train", "val"):
        for number, name in enumerate(("a.jpg", "day 2/a.png", "day 2/b.v1.JPG")):
            size = SIZES[number]
            write_frame(root / "images" / split / name, size)
            mask = root / "masks" / split / Path(name).with_suffix(".png")
            write_label(mask, blocks((0, 2, 1, 255), size), palette=number == 1)
    return root
