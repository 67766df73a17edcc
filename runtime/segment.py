"""A decoded image of any size in, its mask at that size out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.model import Model

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]


def segment(model: Model, image: Image) -> Mask:
    """The mask of one image.

    Args:
        model: the model; its size may differ from the image's.
        image: (H, W, 3) uint8, BGR.

    Returns:
        (H, W) uint8 class ids.
    """
    return segment_batch(model, [image])[0]


def segment_batch(model: Model, images: Sequence[Image]) -> list[Mask]:
    """The masks of several images, each at its own size, from one run of the model."""
    masks = model.run(np.stack([to_size(image, model.size) for image in images]))
    return [_to_size_nearest(mask, image) for mask, image in zip(masks, images, strict=True)]


def to_size(image: Image, size: tuple[int, int]) -> Image:
    """`image`, (H, W, 3), resized bilinearly to `size` (height, width), or itself where the sizes agree."""
    if image.shape[:2] == size:
        return image
    resized: Image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return resized


def _to_size_nearest(mask: Mask, image: Image) -> Mask:
    height, width = image.shape[:2]
    if mask.shape == (height, width):
        return mask
    resized: Mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return resized
