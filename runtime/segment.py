"""A decoded image of any size in, its mask at that size out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.model import Model

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]


Fit = Literal["resize", "letterbox"]
"""How a picture comes to the model's size: stretched, which is what evaluation does, or whole between bars."""

BARS = (104, 116, 124)
"""BGR of the bars: ImageNet's mean, which normalisation turns to zeros, as where training pads."""


def segment(model: Model, image: Image, fit: Fit = "resize") -> Mask:
    """The mask of one image.

    Args:
        model: the model; its size may differ from the image's, and one of any size takes the image as it is.
        image: (H, W, 3) uint8, BGR.
        fit: how an image of another size than the model's comes to it.

    Returns:
        (H, W) uint8 class ids.
    """
    return segment_batch(model, [image], fit)[0]


def segment_batch(model: Model, images: Sequence[Image], fit: Fit = "resize") -> list[Mask]:
    """The masks of several images, each at its own size, from one run of the model, or one each if it has no size."""
    if model.size is None:
        return [model.run(image[None])[0] for image in images]
    bring, back = (letterbox, labels_from_letterbox) if fit == "letterbox" else (to_size, labels_to_size)
    with model.guarded(len(images)):
        frames = np.stack([bring(image, model.size) for image in images])
    masks = model.run(frames)
    return [back(mask, image.shape[:2]) for mask, image in zip(masks, images, strict=True)]


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


def letterbox(image: Image, size: tuple[int, int]) -> Image:
    """`image`, (H, W, 3), whole and undistorted in the middle of `size` (height, width), between bars."""
    height, width = image.shape[:2]
    rows, columns = _inside((height, width), size)
    if (rows, columns) == (slice(0, size[0]), slice(0, size[1])):
        return to_size(image, size)
    boxed = np.empty((*size, 3), np.uint8)
    boxed[:] = BARS
    boxed[rows, columns] = to_size(image, (rows.stop - rows.start, columns.stop - columns.start))
    return boxed


def labels_from_letterbox(labels: Mask, size: tuple[int, int]) -> Mask:
    """A letterboxed mask, (H, W), without its bars, at the `size` (height, width) of the picture that went in."""
    height, width = labels.shape
    return labels_to_size(labels[_inside(size, (height, width))], size)


def _inside(picture: tuple[int, int], box: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of `box` that a picture of that size takes, as large as it fits."""
    scale = min(box[0] / picture[0], box[1] / picture[1])
    height, width = (max(1, min(b, round(p * scale))) for p, b in zip(picture, box, strict=True))
    top, left = (box[0] - height) // 2, (box[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)
