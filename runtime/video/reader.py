"""Frames of a video that has an end: every one that can be decoded, in order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video.source import APPSINK

Image = NDArray[np.uint8]

DEFAULT_FPS = 25.0
"""For a source that announces no frame rate."""

MAX_FPS = 1000.0
"""Above it an announced rate is a clock's (RTSP: 90000) and no camera's."""

ATTEMPTS = 64
"""Reads in a row that may fail before a video counts as ended: a corrupt frame fails one, the end fails all at once."""


COUNTED = (".mp4", ".m4v", ".mov", ".avi")
"""Containers that hold the number of their frames; of the others OpenCV makes it from the length, sound included, and
the rate."""


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


def as_bgr(image: Any, capture: Any, name: str) -> Image:
    """A capture's picture as (H, W, 3) uint8 BGR, made of grey where it is.

    Raises:
        UserError: it is something else, such as the NV12 of a pipeline without videoconvert: one plane of more rows
            than the picture has.
    """
    if image.dtype == np.uint8:
        height = round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if image.ndim == 3 and image.shape[2] == 3:
            return image  # type: ignore[no-any-return]
        if (image.ndim == 2 or image.shape[2] == 1) and (height <= 0 or image.shape[0] == height):
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    raise UserError(f"{name}: gives {image.dtype} {image.shape} and no BGR; end the pipeline in: {APPSINK}")


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
        self._name, self._capture = name, capture
        self._counted = Path(name).suffix.lower() in COUNTED
        self._ended = False
        self._recovered = 0
        self._elapsed = 0.0
        self._steps: Counter[int] = Counter()  # from frame to frame, in frames of the announced rate
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
            self._count_step()
            yield Shot(image, perf_counter())
            image = self._read()
        self._ended = True

    def stop(self) -> None:
        """Nothing to do: reading a file does not block."""

    @property
    def failed(self) -> int:
        """Frames that the container holds and that did not come out; 0 before the end."""
        missing = max(0, (self.info.frames or 0) - self.decoded) if self._ended else 0
        return missing if self._counted else min(missing, self._lost())

    @property
    def corrupt(self) -> int:
        """Frames in the middle that could not be decoded, as far as timestamps or failed reads tell (AVI's do not)."""
        return self._recovered if self.info.frames is None else min(self.failed, self._lost())

    @property
    def shorter(self) -> int:
        """Frames that are missing from the length of a container that does not count them; 0 before the end.

        The video was cut short, or its sound goes on longer.
        """
        if self._counted or not self._ended or not (step := self._step()):
            return 0
        return max(0, (self.info.frames or 0) // step - self.decoded - self.failed)

    def _step(self) -> int:
        """The usual step between frames; 0 where the rate varies."""
        step, count = max(self._steps.items(), key=lambda item: item[1], default=(1, 0))
        return step if 2 * count >= self._steps.total() else 0

    def _lost(self) -> int:
        step = self._step()
        gaps = sum((round(long / step) - 1) * count for long, count in self._steps.items()) if step else 0
        return max(gaps, self._recovered)

    def _read(self) -> Image | None:
        for attempt in range(ATTEMPTS):
            decodes, image = self._capture.read()
            if decodes:
                self._recovered += attempt
                return as_bgr(image, self._capture, self._name)
        return None

    def _count_step(self) -> None:
        elapsed = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self.decoded > 1:
            self._steps[max(1, round((elapsed - self._elapsed) * self.info.fps))] += 1
        self._elapsed = elapsed
