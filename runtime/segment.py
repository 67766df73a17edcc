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
        model: the model; its size may differ from the image's, and one of any size takes the image as it is.
        image: (H, W, 3) uint8, BGR.

    Returns:
        (H, W) uint8 class ids.
    """
    return segment_batch(model, [image])[0]


def segment_batch(model: Model, images: Sequence[Image]) -> list[Mask]:
    """The masks of several images, each at its own size, from one run of the model, or one each if it has no size."""
    if model.size is None:
        return [model.run(image[None])[0] for image in images]
    masks = model.run(np.stack([to_size(image, model.size) for image in images]))
    return [labels_to_size(mask, image.shape[:2]) for mask, image in zip(masks, images, strict=True)]


def to_size(image: Image, size: tuple[int, int]) -> Image:
    """`image`, (H, W, 3), at `size` (height, width), or itself where the sizes agree.

    The one rule for pictures, in training and on the device: the mean of the pixels that fall together where the
    picture shrinks (bilinear would skip some of them), bilinear where it grows.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    shrinks = size[0] * size[1] < height * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Image = cv2.resize(image, (size[1], size[0]), interpolation=interpolation)
    return resized


def labels_to_size(labels: Mask, size: tuple[int, int]) -> Mask:
    """A mask or label map, (H, W), at `size` (height, width): of each pixel's centre the nearest id."""
    if labels.shape == size:
        return labels
    resized: Mask = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized
