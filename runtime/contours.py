"""Which pixels lie near a contour of a label map: for every class, and several widths, at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from math import comb

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Near = NDArray[np.bool_]
Codes = NDArray[np.uint8] | NDArray[np.uint16]


def class_codes(classes: int) -> Codes:
    """(256,): by class id a code of which no other class's is a part, 0 for every other id.

    They are the words with half of their bits set, the largest such set there is (Sperner 1928): 8 bits are enough for
    70 classes, 16 for all. So the union (bitwise or) of the codes in a window is a pixel's own code exactly when no
    other class stands there; ignored pixels, being 0, say nothing.
    """
    bits = 8 if classes <= comb(8, 4) else 16
    words = (sum(1 << bit for bit in ones) for ones in combinations(range(bits), bits // 2))
    table: Codes = np.zeros(256, np.uint8) if bits == 8 else np.zeros(256, np.uint16)
    table[:classes] = list(islice(words, classes))
    return table


class Contours:
    """Finds what lies near a contour in label maps of one shape.

    It keeps the memory that it works in: to ask for new memory at every frame takes as long as the work.

    Args:
        shape: height and width of the label maps.
        classes: number of classes.
        widest: the largest width that will be asked for.
    """

    def __init__(self, shape: tuple[int, int], classes: int, widest: int) -> None:
        (height, width), self._codes, self._widest = shape, class_codes(classes), widest
        # Row after row with room between them, so that a shift by rows and columns is one offset in memory.
        self._stride, self._pixels = width + widest, height * (width + widest)
        padded = np.zeros((height + 2 * widest + 2, self._stride), self._codes.dtype)
        self._own, self._flat = padded[widest : widest + height, widest:], padded.ravel()
        self._unions = np.empty_like(self._flat), np.empty_like(self._flat)
        self._near = np.empty((height, self._stride), np.bool_)

    def near(self, labels: Mask, widths: Sequence[int]) -> Iterator[tuple[int, Near]]:
        """Each width, and the pixels that have another class within so many pixels, in chessboard distance.

        Ignored pixels are nobody's neighbours, and the image's border is no contour. The windows grow from width to
        width: two that touch or overlap make one of up to twice the size.

        Args:
            labels: (H, W) uint8 class ids; any other id is ignored, and the answer there has no meaning.
            widths: in rising order, from 1 to `widest`.

        Yields:
            The width, and (H, W + widest) bool of which the first W columns count, overwritten by the next one.
        """
        cv2.LUT(labels, self._codes, dst=self._own)
        union, size = self._flat, 1  # at each pixel that of the window that starts there
        for width in widths:
            while size <= 2 * width:
                step = min(size, 2 * width + 1 - size)
                for shift, memory in zip((step, step * self._stride), self._unions, strict=True):
                    union = np.bitwise_or(union[:-shift], union[shift:], out=memory[: union.size - shift])
                size += step
            np.not_equal(
                self._from(union, self._widest - width), self._from(self._flat, self._widest), out=self._near
            )
            yield width, self._near

    def _from(self, flat: Codes, at: int) -> Codes:
        """The rows of an image that starts at row and column `at`."""
        first = at * (self._stride + 1)
        return flat[first : first + self._pixels].reshape(self._near.shape)
