"""CamVid in the SegNet folder layout (Brostow, Fauqueur, Cipolla 2008; Badrinarayanan et al. 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kd_deploy.data.folders import FolderDataset, Listing, pictures
from kd_deploy.data.labels import LabelIds
from kd_deploy.runtime.frames import IGNORE

VOID = 11
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


class CamVid(FolderDataset):
    """ROOT/{train,val,test} with frames and ROOT/{train,val,test}annot with a PNG of the same stem for each.

    Ids 0 to 10 are classes; 11 and 255 are void and become 255.
    """

    title = "CamVid"
    layout = "ROOT/SPLIT with frames and ROOT/SPLITannot with a PNG for each"
    classes = tuple(CLASSES)
    palette = np.array(list(CLASSES.values()), np.uint8)
    ids = LabelIds(
        {id_: id_ for id_ in range(VOID)},
        (VOID, IGNORE),
        f"CamVid has 0 to {VOID - 1}, and {VOID} or {IGNORE} for void",
    )

    @classmethod
    def _list(cls, root: Path, split: str) -> Listing:
        images, masks = root / split, root / f"{split}annot"
        cls._require(root, split, images, masks)
        pairs = [(frame, masks / f"{frame.stem}.png") for frame in pictures(images)]
        return Listing(pairs, masks.glob("*.png"))
