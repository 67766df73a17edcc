"""Frames of a video that has an end: every one that can be decoded, in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError

Image = NDArray[np.uint8]

DEFAULT_FPS = 25.0
"""For a source that announces no frame rate."""

MAX_FPS = 1000.0
"""Above it an announced rate is a clock's (RTSP: 90000) and no camera's."""

ATTEMPTS = 64
"""Reads in a row that may fail before a video counts as ended: a corrupt frame fails one, the end fails all at once."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        width: pixels of the decoded frames (any rotation the container asks for is applied).
        height: likewise.
        fps: frames a second, 25 where the container announces none.
        frames: how many the container announces; None where it does not say.
    """

    width: int
    height: int
    fps: float
    frames: int | None


@dataclass(frozen=True)
class Shot:
    """A decoded frame.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        decoded_at: `time.perf_counter()` at which it was there.
    """

    image: Image
    decoded_at: float


def describe(capture: Any, first: Image) -> VideoInfo:
    """What an opened `cv2.VideoCapture` says of itself, made safe."""
    fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return VideoInfo(
        width=first.shape[1],
        height=first.shape[0],
        fps=fps if math.isfinite(fps) and 0 < fps <= MAX_FPS else DEFAULT_FPS,
        frames=int(frames) if math.isfinite(frames) and frames > 0 else None,
    )


class Video:
    """An opened video: iterate over it once for its frames, (H, W, 3) uint8 BGR.

    Frames that cannot be decoded are left out, and a file that ends early ends early; both are counted. What a
    decoder conceals (most MPEG-4 and H.264 damage shows as smears) no count knows of.

    Attributes:
        info: its size, frame rate and announced length.
        decoded: how many frames have come out so far.
        dropped: always 0: of a video that has an end nothing is dropped.
        live: always False.
        ended: always None: it ends at its end.
    """

    live = False
    dropped = 0
    ended: str | None = None

    def __init__(self, name: str, capture: Any) -> None:
        self.decoded = 0
        self._capture = capture
        self._ended = False
        self._recovered = 0
        self._elapsed = 0.0
        self._gaps = 0
        first = self._read()
        if first is None:
            raise UserError(
                f"{name}: cannot be decoded as a video (damaged, cut short, or in a codec that this OpenCV "
                "lacks); check it with ffprobe, or convert it to mp4"
            )
        self._first = first
        self.info = describe(capture, first)

    def __iter__(self) -> Iterator[Image]:
        return (shot.image for shot in self.shots())

    def shots(self) -> Iterator[Shot]:
        """The frames, each with the time at which it was decoded."""
        image: Image | None = self._first
        del self._first
        while image is not None:
            self.decoded += 1
            self._count_gap()
            yield Shot(image, perf_counter())
            image = self._read()
        self._ended = True

    def stop(self) -> None:
        """Nothing to do: reading a file does not block."""

    @property
    def failed(self) -> int:
        """Frames that the container announces and that did not come out; 0 before the end."""
        return max(0, (self.info.frames or 0) - self.decoded) if self._ended else 0

    @property
    def corrupt(self) -> int:
        """Frames in the middle that could not be decoded, as far as timestamps or failed reads tell (AVI's do not)."""
        if self.info.frames is None:
            return self._recovered
        return min(self.failed, max(self._gaps, self._recovered))

    def _read(self) -> Image | None:
        for attempt in range(ATTEMPTS):
            decodes, image = self._capture.read()
            if decodes:
                self._recovered += attempt
                return image  # type: ignore[no-any-return]
        return None

    def _count_gap(self) -> None:
        """Frames between this timestamp and the last one, at the announced rate."""
        elapsed = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self._gaps += max(0, round((elapsed - self._elapsed) * self.info.fps) - 1) if self.decoded > 1 else 0
        self._elapsed = elapsed
