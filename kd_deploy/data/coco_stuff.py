"""COCO-Stuff 10K v1.1 (Caesar, Uijlings, Ferrari 2018, arXiv 1612.03716): 80 things and 91 kinds of stuff."""

from __future__ import annotations

import importlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.folders import (
    FolderDataset,
    Label,
    LabelIds,
    Pair,
    check_folders,
    choose,
    listed,
    pascal_palette,
    pictures,
)
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.frames import IGNORE
from kd_deploy.runtime.images import read_label

CLASSES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, "
    "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, "
    "backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, "
    "baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, "
    "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, "
    "potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, "
    "oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, "
    "banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, "
    "ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, "
    "floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, "
    "furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, "
    "mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, "
    "railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, "
    "solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, "
    "wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, "
    "waterdrops, window-blind, window-other, wood"
)

UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Of COCO's ids 1 to 182 those that label nothing."""

COCO_IDS = tuple(id_ for id_ in range(1, 183) if id_ not in UNUSED)

_TRAIN_IDS = LabelIds(
    {id_ + 1: id_ for id_ in range(len(COCO_IDS))},
    (0, IGNORE),
    f"converted label maps of COCO-Stuff 10K have 1 to {len(COCO_IDS)}, and 0 or {IGNORE} for unlabelled",
)


class CocoStuff10k(FolderDataset):
    """Splits are train (9000 frames) and test (1000), which is also `val`. Unlabelled pixels are ignored.

    Two layouts, the first where both are there:
    ROOT/images/{train,test}2014/*.jpg and ROOT/annotations/{train,test}2014/*_labelTrainIds.png, which
    MMSegmentation's converter writes (0 = unlabelled, 1 to 171), or the downloaded ROOT/images/*.jpg,
    ROOT/annotations/*.mat (`S`: 0 = unlabelled, COCO's ids 1 to 182), ROOT/imageLists/{train,test}.txt,
    which needs SciPy. The palette is PASCAL VOC's: COCO-Stuff has no official one of distinct colours.
    """

    classes = tuple(CLASSES.split(", "))
    palette = pascal_palette(len(COCO_IDS) + 1)[1:]
    ids = LabelIds(
        {id_: number for number, id_ in enumerate(COCO_IDS)},
        (0,),
        "label maps of COCO-Stuff 10K have COCO's ids 1 to 182 without "
        f"{', '.join(map(str, UNUSED))}, and 0 for unlabelled",
    )

    @classmethod
    def _list(cls, root: Path, split: str) -> list[Pair]:
        split = choose(split, {"train": "train", "val": "test", "test": "test"}, "COCO-Stuff 10K")
        images, masks, names = root / "images", root / "annotations", root / "imageLists" / f"{split}.txt"
        converted = masks / f"{split}2014"
        layout = (
            f"the layout of COCO-Stuff 10K is ROOT/images, ROOT/annotations and ROOT/imageLists/{split}.txt, or "
            f"of MMSegmentation's converter ROOT/images/{split}2014 and ROOT/annotations/{split}2014"
        )
        if converted.is_dir():
            check_folders(root, layout, images / converted.name)
            frames = pictures(images / converted.name, "*.jpg")
            return [(frame, converted / f"{frame.stem}_labelTrainIds.png") for frame in frames]
        check_folders(root, layout, images, masks, names)
        return [(frame, masks / f"{frame.stem}.mat") for frame in listed(names, images)]

    def _label(self, path: Path) -> Label:
        if path.suffix == ".mat":
            return self.ids.to_classes(_read_mat(path), path)
        return _TRAIN_IDS.to_classes(read_label(path), path)


def _read_mat(path: Path) -> NDArray[np.uint16]:
    """The label map `S`, (H, W) uint16, of a MATLAB file."""
    try:
        scipy_io: Any = importlib.import_module("scipy.io")
    except ImportError as error:
        raise MissingComponentError(
            f"{path}: SciPy, which reads MATLAB files, cannot be imported ({error}); pip install scipy"
        ) from error
    try:
        label = np.asarray(scipy_io.loadmat(path, variable_names=["S"])["S"], np.uint16)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError, zlib.error) as error:
        raise UserError(f"{path}: holds no label map S ({error}); copy or download it again") from error
    if label.ndim != 2:
        raise UserError(f"{path}: S is {label.shape}, not height x width; copy or download it again")
    return label
