"""CamVid in the SegNet folder layout (Brostow, Fauqueur, Cipolla 2008; Badrinarayanan et al. 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import SUFFIXES, read_image, read_label
from kd_deploy.runtime.segment import labels_to_size, to_size

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


class CamVid:
    """ROOT/{train,val,test} with frames and ROOT/{train,val,test}annot with a PNG of the same stem for each.

    Ids 0 to 10 are classes; 11 and 255 are void and become 255.
    """

    classes = tuple(CLASSES)
    palette: NDArray[np.uint8] = np.array(list(CLASSES.values()), np.uint8)

    def __init__(self, root: Path, split: str, size: tuple[int, int] | None = None) -> None:
        """List the pairs; `size` (height, width) resizes every frame and mask.

        Raises:
            UserError: the folders are missing or empty, or a frame has no mask.
        """
        images, masks = root / split, root / f"{split}annot"
        for folder in (images, masks):
            if not folder.is_dir():
                there = (
                    ", ".join(sorted(p.name for p in root.iterdir())) if root.is_dir() else "no such folder"
                )
                raise UserError(
                    f"{folder}: is missing ({root}: {there or 'empty'}); the SegNet layout of CamVid is "
                    f"ROOT/{split} with frames and ROOT/{split}annot with masks: "
                    "--set data.root=ROOT (or --data ROOT)"
                )
        frames = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES)
        if not frames:
            raise UserError(f"{images}: holds no pictures ({', '.join(SUFFIXES)}); put the frames there")
        self._pairs = [(frame, masks / f"{frame.stem}.png") for frame in frames]
        missing = [(frame, mask) for frame, mask in self._pairs if not mask.is_file()]
        if missing:
            frame, mask = missing[0]
            more = f", and so do {len(missing) - 1} more frames" if len(missing) > 1 else ""
            raise UserError(f"{frame}: lacks its mask {mask}{more}; add the mask or take the frame out")
        self._size = size

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Frame:
        """Read a pair.

        Raises:
            UserError: a file is damaged, the sizes differ, or an id is none of the classes.
        """
        image_path, mask_path = self._pairs[index]
        image, label = read_image(image_path), read_label(mask_path)
        if image.shape[:2] != label.shape:
            raise UserError(
                f"{mask_path}: is {label.shape[0]}x{label.shape[1]}, its frame {image_path.name} is "
                f"{image.shape[0]}x{image.shape[1]}; mask and frame must have one size"
            )
        label[label == VOID] = IGNORE
        unknown = np.unique(label[(label >= len(CLASSES)) & (label != IGNORE)])
        if len(unknown):
            raise UserError(
                f"{mask_path}: holds the id {unknown[0]}, which is no class; CamVid has 0 to "
                f"{len(CLASSES) - 1}, and {VOID} or {IGNORE} for void"
            )
        if self._size is not None:
            image, label = to_size(image, self._size), labels_to_size(label, self._size)
        return Frame(str(image_path), image, label)
