"""Segmentation scores: mIoU, accuracies and boundary IoU, one code for PyTorch and for every backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.contours import Contours
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE

Mask = NDArray[np.uint8]
Counts = NDArray[np.int64]

BOUNDARY_RATIO = 0.02
"""Width of the boundary band over the image's diagonal (Cheng et al. 2021, section 5)."""

TRIMAP_WIDTHS = (1, 2, 4, 8, 16)
"""Half the widths of the trimap's bands, in pixels, in rising order: each band holds those before it."""

_LEVELS = len(TRIMAP_WIDTHS) + 1
_REGIONS = 4 * _LEVELS
"""A pixel's region: in how many trimaps it lies, + _LEVELS in the truth's band, + 2 * _LEVELS in the prediction's."""

_EXACT = 1 << 24
"""cv2.calcHist counts in integers but hands them over as float32, in which whole numbers and their sums are exact up to
here."""


@dataclass(frozen=True)
class Result:
    """Scores in points, 0 to 100; None where nothing was labelled.

    A class that stands neither in the truth nor in the prediction has no IoU (None) and is left out of the
    means; a class that was only predicted has IoU 0 and counts in `miou`.

    Attributes:
        miou: mean of the classes' IoU, each over the whole split.
        pixel_accuracy: share of the labelled pixels that are right.
        mean_accuracy: mean over the classes in the truth of the share of their pixels that are right.
        boundary_iou: mean of the classes' boundary IoU.
        trimap_iou: by width, the mean of the classes' IoU over the pixels near a boundary of the truth.
        classes: IoU by class name.
        boundary_classes: boundary IoU by class name.
        images: number of frames.
        confusion: (C, C) int64 pixels, row = truth, column = prediction.
    """

    miou: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    boundary_iou: float | None
    trimap_iou: dict[int, float | None]
    classes: dict[str, float | None]
    boundary_classes: dict[str, float | None]
    images: int
    confusion: Counts = field(repr=False, compare=False)


class Score:
    """Counts over the frames of a split, exact in int64.

    Boundary IoU (Cheng et al. 2021, arXiv 2103.16562): of each class's mask the pixels within d of its
    contour, d = max(1, round(0.02 * diagonal)) in chessboard distance, the image border being contour;
    intersection over union, both summed over the split as for IoU. Ignored pixels count nowhere, and an
    ignored neighbour makes no contour, neither in the truth nor in the prediction.

    Trimap IoU (Kohli, Ladicky, Torr 2009; Chen et al. 2018, arXiv 1802.02611, section 4.4): IoU over the pixels of
    the truth within w of another class, in chessboard distance, for each w of TRIMAP_WIDTHS. There the image
    border is no contour.

    Args:
        class_names: the C <= 255 class names by id.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        count = len(class_names)
        if not 1 <= count <= IGNORE:
            raise UserError(
                f"classes: {count} of them; 1 to {IGNORE} can be scored, id {IGNORE} means ignored"
            )
        self.class_names = tuple(class_names)
        self._planes: _Planes | None = None
        # One vector, so that ranks are summed in one call; the rest are views of it.
        self._counts: Counts = np.zeros(count * count + 3 * count * (1 + len(TRIMAP_WIDTHS)) + 1, np.int64)
        self._confusion = self._counts[: count * count].reshape(count, count)
        # Of the boundary's band, then of each trimap: pixels of the truth, of the prediction, of both.
        self._bands = self._counts[count * count : -1].reshape(-1, 3, count)

    def update(self, truth: Mask, prediction: Mask, name: str = "frame") -> None:
        """Add one frame.

        Args:
            truth: (H, W) uint8 class ids, 255 = ignored.
            prediction: (H, W) uint8 class ids.
            name: what a message calls the frame.

        Raises:
            UserError: the shapes differ, or an id belongs to no class.
        """
        count = len(self.class_names)
        if truth.shape != prediction.shape:
            raise UserError(
                f"{name}: the label map is {_size(truth)} and the mask {_size(prediction)}; "
                "resize one to the other with INTER_NEAREST"
            )
        if self._planes is None or self._planes.shape != truth.shape:
            self._planes = _Planes(truth.shape, count)
        planes = self._planes
        truth, prediction = np.ascontiguousarray(truth), np.ascontiguousarray(prediction)
        ignored = planes.ignored(truth)
        check_ids(np.bitwise_xor(truth, ignored, out=planes.labels), count, f"{name}: the label map")
        check_ids(prediction, count, f"{name}: the mask")
        regions = planes.regions(truth, np.bitwise_or(prediction, ignored, out=planes.labels))
        for joint in _joint_histograms(truth, prediction, regions, count):
            self._confusion += (joint @ np.ones(_REGIONS, np.float32)).astype(np.int64)
            of_classes = np.stack([joint.sum(axis=1), joint.sum(axis=0), np.diagonal(joint).T])
            self._bands += (of_classes @ _MEMBERS).transpose(2, 0, 1).astype(np.int64)
        self._counts[-1] += 1

    def counts(self) -> Counts:
        """A copy of all counts as one int64 vector; ranks sum theirs and hand the sum to `from_counts`."""
        copied: Counts = self._counts.copy()
        return copied

    @classmethod
    def from_counts(cls, class_names: Sequence[str], counts: Counts) -> Score:
        """The score whose `counts()` are `counts`."""
        score = cls(class_names)
        if counts.shape != score._counts.shape:
            raise ValueError(
                f"{len(class_names)} classes have {score._counts.size} counts, got {counts.size}"
            )
        score._counts[:] = counts
        return score

    def __add__(self, other: Score) -> Score:
        if self.class_names != other.class_names:
            raise ValueError("scores of different classes cannot be added")
        return Score.from_counts(self.class_names, self._counts + other._counts)

    def result(self) -> Result:
        """The scores of all frames so far."""
        hits = np.diagonal(self._confusion)
        truth, prediction = self._confusion.sum(axis=1), self._confusion.sum(axis=0)
        classes = _points(hits, truth + prediction - hits)
        boundary, *trimaps = (_points(both, own + other - both) for own, other, both in self._bands)
        (accuracy,) = _points(hits.sum(keepdims=True), truth.sum(keepdims=True))
        return Result(
            miou=_mean(classes),
            pixel_accuracy=accuracy,
            mean_accuracy=_mean(_points(hits, truth)),
            boundary_iou=_mean(boundary),
            trimap_iou=dict(zip(TRIMAP_WIDTHS, map(_mean, trimaps), strict=True)),
            classes=dict(zip(self.class_names, classes, strict=True)),
            boundary_classes=dict(zip(self.class_names, boundary, strict=True)),
            images=int(self._counts[-1]),
            confusion=self._confusion.copy(),
        )


def check_ids(mask: Mask, classes: int, name: str) -> None:
    """Raise a UserError if a pixel of `mask`, (H, W) uint8, has an id of `classes` or above."""
    if mask.size and (highest := int(mask.max())) >= classes:
        raise UserError(
            f"{name}: has class id {highest}, but the {classes} classes end at {classes - 1}; "
            f"map it to a class, or to {IGNORE} in a label map"
        )


def boundary_width(shape: tuple[int, ...]) -> int:
    """d of boundary IoU in pixels, for an image of `shape` (height, width)."""
    return max(1, round(BOUNDARY_RATIO * float(np.hypot(shape[0], shape[1]))))


class _Planes:
    """What is made of frames of one shape, in memory that is kept from frame to frame.

    Attributes:
        labels: (H, W) uint8, for the caller.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        self.shape = shape
        self._width = boundary_width(shape)
        self._widths = sorted({*TRIMAP_WIDTHS, self._width})
        self._contours = Contours((shape[0], shape[1]), classes, self._widths[-1])
        self.labels: Mask = np.empty(shape, np.uint8)
        self._ignored: Mask = np.empty(shape, np.uint8)
        self._is_ignored = np.empty(shape, np.bool_)
        self._regions, self._weighted = np.empty((2, shape[0], shape[1] + self._widths[-1]), np.uint8)

    def ignored(self, truth: Mask) -> Mask:
        """255 where the truth is ignored, else 0."""
        np.multiply(np.equal(truth, IGNORE, out=self._is_ignored), np.uint8(255), out=self._ignored)
        return self._ignored

    def regions(self, truth: Mask, prediction: Mask) -> Mask:
        """(H, W) uint8: the region that each pixel lies in; without meaning where it is ignored."""
        self._regions[:] = 0
        for width, near in self._contours.near(truth, self._widths):
            if width in TRIMAP_WIDTHS:
                self._regions += near.view(np.uint8)
            if width == self._width:
                self._add_band(near, _LEVELS)
        for _, near in self._contours.near(prediction, [self._width]):
            self._add_band(near, 2 * _LEVELS)
        regions: Mask = self._regions[:, : self.shape[1]]
        return regions

    def _add_band(self, near: NDArray[np.bool_], weight: int) -> None:
        """Near a contour, the image's border being one."""
        near[: self._width] = near[-self._width :] = True
        near[:, : self._width] = near[:, self.shape[1] - self._width : self.shape[1]] = True
        self._regions += np.multiply(near, np.uint8(weight), out=self._weighted)


def _members() -> NDArray[np.float32]:
    """(3, _REGIONS, bands) of 0 and 1: which regions count for the truth, for the prediction and for both."""
    region = np.arange(_REGIONS)
    own, other = region // _LEVELS % 2, region // (2 * _LEVELS)
    trimaps = [region % _LEVELS > len(TRIMAP_WIDTHS) - 1 - row for row in range(len(TRIMAP_WIDTHS))]
    return np.array([np.stack([band, *trimaps], axis=1) for band in (own, other, own & other)], np.float32)


_MEMBERS = _members()


def _joint_histograms(
    truth: Mask, prediction: Mask, regions: Mask, classes: int
) -> Iterator[NDArray[np.float32]]:
    """(C, C, _REGIONS) for each part of the frame of up to _EXACT pixels, in whole numbers: pixels by class of truth,
    class of prediction and region; ignored ones drop out."""
    bins, ranges = [classes, classes, _REGIONS], [0, classes, 0, classes, 0, _REGIONS]
    rows = max(1, _EXACT // truth.shape[1])
    for top in range(0, truth.shape[0], rows):
        part = [plane[top : top + rows] for plane in (truth, prediction, regions)]
        yield cv2.calcHist(part, [0, 1, 2], None, bins, ranges)


def _points(part: Counts, whole: Counts) -> list[float | None]:
    return [100.0 * float(p) / float(w) if w else None for p, w in zip(part, whole, strict=True)]


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _size(mask: Mask) -> str:
    return "x".join(map(str, mask.shape))
