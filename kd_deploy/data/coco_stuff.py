"""COCO-Stuff 10K v1.1 (Caesar, Uijlings, Ferrari 2018, arXiv 1612.03716): 80 things and 91 kinds of stuff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.folders import FolderDataset, Listing, listed, pictures
from kd_deploy.data.labels import LabelIds, pascal_palette
from kd_deploy.data.matlab import read_matrix
from kd_deploy.runtime.errors import UserError
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
    ROOT/annotations/*.mat (`S`: 0 = unlabelled, COCO's ids 1 to 182), ROOT/imageLists/{train,test}.txt.
    The palette is PASCAL VOC's: COCO-Stuff has no official one of distinct colours.
    """

    title = "COCO-Stuff 10K"
    layout = (
        "ROOT/images, ROOT/annotations and ROOT/imageLists/SPLIT.txt, or of MMSegmentation's converter "
        "ROOT/images/SPLIT2014 and ROOT/annotations/SPLIT2014"
    )
    classes = tuple(CLASSES.split(", "))
    palette = pascal_palette(len(COCO_IDS) + 1)[1:]
    ids = LabelIds(
        {id_: number for number, id_ in enumerate(COCO_IDS)},
        (0,),
        "label maps of COCO-Stuff 10K have COCO's ids 1 to 182 without "
        f"{', '.join(map(str, UNUSED))}, and 0 for unlabelled",
    )

    @classmethod
    def _list(cls, root: Path, split: str) -> Listing:
        split = cls._choose(split, {"train": "train", "val": "test", "test": "test"})
        images, masks, names = root / "images", root / "annotations", root / "imageLists" / f"{split}.txt"
        converted = masks / f"{split}2014"
        if converted.is_dir():
            cls._require(root, split, images / converted.name)
            frames = pictures(images / converted.name, "*.jpg")
            pairs = [(frame, converted / f"{frame.stem}_labelTrainIds.png") for frame in frames]
            return Listing(pairs, converted.glob("*_labelTrainIds.png"))
        cls._require(root, split, images, masks, names)
        pairs = [(frame, masks / f"{frame.stem}.mat") for frame in listed(names, images)]
        return Listing(pairs, names=names)

    def _read_ids(self, path: Path) -> tuple[NDArray[Any], LabelIds]:
        if path.suffix == ".mat":
            return _read_mat(path), self.ids
        return read_label(path), _TRAIN_IDS


def _read_mat(path: Path) -> NDArray[Any]:
    """The label map `S`, (H, W) uint16, of a MATLAB file.

    Raises:
        UserError: the file is missing or damaged, or holds no such matrix.
    """
    try:
        label = read_matrix(path, "S")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: holds no label map S ({error}); copy or download it again") from error
    if label.ndim != 2:
        raise UserError(f"{path}: S is {label.shape}, not height x width; copy or download it again")
    with np.errstate(invalid="ignore"):
        ids = label.astype(np.uint16)
    if (ids != label).any():
        raise UserError(f"{path}: S is no label map (ids from {label.min()} to {label.max()}); replace it")
    return ids
