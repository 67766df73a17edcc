"""Write video files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file
from kd_deploy.runtime.interrupts import held_back
from kd_deploy.runtime.streams import no_stderr
from kd_deploy.runtime.video.opencv import file_backend, opencv_name, quiet_opencv

CODECS = {".mp4": "mp4v", ".webm": "VP80"}
"""The codec by the output's suffix: MPEG-4 part 2 is fast and every player but a browser knows it, VP8 plays in
browsers.

On two cores mp4v takes 1.1 ms a frame of 360x480, VP8 41 and VP9 212, release included (benchmarks/video_codecs.py,
docs/results/video_codecs.md). H.264 and AV1 do not open in pip's OpenCV, and OpenCV hands libvpx no speed option
(opencv#24570).
"""

_MOST_TICKS = 65535
"""A second of MPEG-4 has at most so many; OpenCV counts them in powers of ten for a rate that is no whole number."""


class VideoWriter:
    """A video file under construction; `write_video` makes and finishes it.

    Attributes:
        frames: how many were written.
        codec: the FourCC in use; None before the first frame.
        size: height and width in pixels of the file's frames; None before the first frame.
    """

    def __init__(self, path: Path, temporary: Path, fps: float) -> None:
        self.frames = 0
        self.codec: str | None = None
        self.size: tuple[int, int] | None = None
        self._path, self._temporary = path, opencv_name(temporary)
        self._fps = round(fps, int(math.log10(_MOST_TICKS / fps)))
        self._writer: Any = None

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame; the first one fixes the size.

        4:2:0 video has even sides, so an odd frame gets its last row or column twice.

        Args:
            frame: (H, W, 3) uint8, BGR.

        Raises:
            UserError: no codec opens, or the frame has another size than the first.
        """
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        size = (frame.shape[0], frame.shape[1])
        if self.size is None:
            self._open(size)
        elif size != self.size:  # OpenCV would drop it in silence
            raise UserError(
                f"{self._path}: frame {self.frames} is {width}x{height}, the first was "
                f"{self.size[1]}x{self.size[0]}; convert the source to one size"
            )
        self._writer.write(frame)
        self.frames += 1

    def _open(self, size: tuple[int, int]) -> None:
        codec = CODECS[self._path.suffix.lower()]
        fourcc, width_height = cv2.VideoWriter.fourcc(*codec), (size[1], size[0])
        with no_stderr():  # OpenCV prints past its log level that WebM has no codec tags
            self._writer = cv2.VideoWriter(self._temporary, file_backend(), fourcc, self._fps, width_height)
        if not self._writer.isOpened():
            raise UserError(
                f"{self._path}: OpenCV cannot write a {size[1]}x{size[0]} {codec} video at {self._fps:g} frames/s "
                f"there; check the folder, or name a {' or '.join(CODECS)} file"
            )
        self.codec, self.size = codec, size

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def _verify(self) -> None:
        """Read the last frame: OpenCV reports no failed write, and WebM opens wherever it is cut."""
        if not self.frames:
            raise UserError(f"{self._path}: no frame to write; check the source")
        written = cv2.VideoCapture(self._temporary, file_backend())
        written.set(cv2.CAP_PROP_POS_FRAMES, self.frames - 1)
        whole = written.read()[0]
        written.release()
        if not whole:
            raise UserError(f"{self._path}: could not be written to its end; free space on the disk")


class Pace:
    """How often the pictures of a live source are written, so that the file plays as fast as the source was.

    By the clock, because frames are dropped and the rate that a stream announces may be anything.

    Args:
        fps: of the file.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._began: float | None = None
        self._written = 0

    def copies(self, taken_at: float) -> int:
        """How many times to write the picture that was taken then (seconds of one clock); 0 where it comes too soon."""
        if self._began is None:
            self._began = taken_at
        copies = max(0, round((taken_at - self._began) * self._fps) + 1 - self._written)
        self._written += copies
        return copies


@contextmanager
def write_video(path: Path, fps: float) -> Iterator[VideoWriter]:
    """Write a video file that stands under its name only once it is complete.

    After an exception `path` is as it was. After Ctrl-C the frames written so far become a complete file where
    there was none before, and the KeyboardInterrupt goes on. Signals that come while it is finished wait for it.

    Raises:
        UserError: `path` has another suffix than `CODECS`, is not UTF-8, or cannot be written, or the disk is full.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: a video is written as {' or '.join(CODECS)}; name such a file")
    opencv_name(path)
    interrupt: KeyboardInterrupt | None = None
    with quiet_opencv(), held_back() as hold_signals, atomic_file(path) as temporary:
        writer = VideoWriter(path, temporary, fps)
        try:
            yield writer
            hold_signals()
        except KeyboardInterrupt as error:
            hold_signals()
            if path.exists() or not writer.frames:
                raise
            interrupt = error
        finally:
            writer._close()
        writer._verify()
    if interrupt is not None:
        raise interrupt
