"""The scores' counts in one pass of the frame for each band: the plain form that runtime/metrics.py is held to."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.frames import IGNORE
from kd_deploy.runtime.metrics import TRIMAP_WIDTHS, boundary_width

Mask = NDArray[np.uint8]
Counts = NDArray[np.int64]


def counts_in_passes(truth: Mask, prediction: Mask, classes: int) -> Counts:
    """`Score.counts()` of one frame of fewer than 2 ** 24 pixels: a minimum, maximum and histogram a band."""
    ignored: Mask = (truth == IGNORE) * np.uint8(255)
    prediction = prediction | ignored
    width = boundary_width(truth.shape)
    banded = [
        np.minimum(mask | ~_band(mask, ignored, width), np.uint8(classes)) for mask in (truth, prediction)
    ]
    bands = [_sums(_joint_histogram(*banded, classes + 1), classes)]
    for trimap in TRIMAP_WIDTHS:
        near = truth | ~_near_contour(truth, ignored, trimap)
        bands.append(_sums(_joint_histogram(near, prediction, classes), classes))
    confusion = _joint_histogram(truth, prediction, classes)
    return np.concatenate([confusion.ravel(), *bands, [1]])


def _sums(joint: Counts, classes: int) -> Counts:
    return np.concatenate([s[:classes] for s in (joint.sum(axis=1), joint.sum(axis=0), np.diagonal(joint))])


def _band(mask: Mask, ignored: Mask, width: int) -> Mask:
    band = _near_contour(mask, ignored, width)
    band[:width] = band[-width:] = band[:, :width] = band[:, -width:] = 255
    return band


def _near_contour(mask: Mask, ignored: Mask, width: int) -> Mask:
    """255 where the window around a pixel holds two labels; ignored ones are neutral to the minimum and the maximum."""
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    highest, lowest = cv2.dilate(mask & ~ignored, window), cv2.erode(mask | ignored, window)
    near: Mask = cv2.compare(highest, lowest, cv2.CMP_NE)
    return near


def _joint_histogram(first: Mask, second: Mask, bins: int) -> Counts:
    pairs = cv2.calcHist([first, second], [0, 1], None, [bins, bins], [0, bins, 0, bins])
    return pairs.astype(np.int64)
