"""The picture that a view shows of a frame and its mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.overlay import Overlay, colorize, side_by_side

Image = NDArray[np.uint8]
View = Literal["overlay", "mask", "side-by-side"]
Hud = Literal["screen", "everywhere", "nowhere"]
"""Where frame rate, latency and drops are shown: on the screen only, in the file too, or not at all."""


class Painter:
    """Draws the view; the overlay with its legend is made once for a frame size."""

    def __init__(self, view: View, class_names: Sequence[str], palette: NDArray[np.uint8]) -> None:
        self.view = view
        self._class_names = class_names
        self._palette = palette
        self._overlay: Overlay | None = None
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: Image, mask: Image) -> Image:
        """A new picture, uint8 BGR, of one size for all frames of one size."""
        if self.view == "mask":
            return colorize(mask, self._palette)
        size = (frame.shape[0], frame.shape[1])
        if self._overlay is None or self._size != size:
            self._overlay, self._size = Overlay(self._class_names, self._palette, size), size
        drawn = self._overlay.draw(frame, mask)
        if self.view == "overlay":
            return drawn
        strip = drawn.shape[0] - frame.shape[0]  # of the legend, where it stands below the frame
        return side_by_side([cv2.copyMakeBorder(frame, 0, strip, 0, 0, cv2.BORDER_CONSTANT), drawn])
