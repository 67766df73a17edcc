"""Read and write video files, and let decoding, inference and encoding overlap.

Small pieces that compose:

    with read_video(source) as video, write_video(target, video.info.fps) as sink, ahead(video) as frames:
        for frame in frames: sink.write(frame)
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file

T = TypeVar("T")

CODECS = {".mp4": "mp4v", ".webm": "VP80"}
"""The codec by the output's suffix: MPEG-4 part 2 is fast and every player but a browser knows it, VP8 plays in
browsers.

On two cores mp4v takes 1.1 ms a frame of 360x480, VP8 41 and VP9 212, release included (benchmarks/video_codecs.py,
docs/results/video_codecs.md). H.264 and AV1 do not open in pip's OpenCV, and OpenCV hands libvpx no speed option
(opencv#24570).
"""

DEFAULT_FPS = 25.0
"""For a container that announces no frame rate."""


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep what OpenCV and its FFmpeg print on stderr from the user: our own message says it.

    FFmpeg's level is read once in a process, when the first video is opened; -8 is AV_LOG_QUIET.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: OpenCV prints past its log level that WebM has no codec tags."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _backend() -> int:
    """FFmpeg alone where OpenCV has it: others print past every log level, or take a name for a pattern."""
    return cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY


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


class Video:
    """An opened video: iterate over it once for its frames, (H, W, 3) uint8 BGR.

    Attributes:
        info: its size, frame rate and announced length.
        decoded: how many frames have come out so far.
    """

    def __init__(self, path: Path, capture: Any) -> None:
        decodes, first = capture.read()
        if not decodes:
            raise UserError(
                f"{path}: cannot be decoded as a video (damaged, cut short, or in a codec that this OpenCV "
                "lacks); check it with ffprobe, or convert it to mp4"
            )
        fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.info = VideoInfo(
            width=first.shape[1],
            height=first.shape[0],
            fps=fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS,
            frames=int(frames) if math.isfinite(frames) and frames > 0 else None,
        )
        self.decoded = 0
        self._first = first
        self._capture = capture

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        decodes, frame = True, self._first
        while decodes:
            self.decoded += 1
            yield frame
            decodes, frame = self._capture.read()

    @property
    def failed(self) -> int:
        """Frames that the container announces and that did not come out: known after the last one."""
        return max(0, (self.info.frames or 0) - self.decoded)


@contextmanager
def read_video(path: Path) -> Iterator[Video]:
    """Open a video file.

    Frames in the middle that cannot be decoded are left out, and a file that ends early ends early:
    `Video.failed` counts them.

    Raises:
        UserError: no such file, or not one frame of it can be decoded.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such video file; check the path")
    with quiet_opencv():
        capture = cv2.VideoCapture(str(path), _backend())
        try:
            yield Video(path, capture)
        finally:
            capture.release()


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
        self._path, self._temporary, self._fps = path, temporary, fps
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
        with _no_stderr():
            self._writer = cv2.VideoWriter(str(self._temporary), _backend(), fourcc, self._fps, width_height)
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
        """Open the file again: OpenCV reports no failed write."""
        if not self.frames:
            raise UserError(f"{self._path}: no frame to write; check the source")
        if not cv2.VideoCapture(str(self._temporary), _backend()).isOpened():
            raise UserError(f"{self._path}: could not be written to its end; free space on the disk")


@contextmanager
def write_video(path: Path, fps: float) -> Iterator[VideoWriter]:
    """Write a video file that stands under its name only once it is complete.

    After an exception `path` is as it was. After Ctrl-C the frames written so far become a complete file where
    there was none before, and the KeyboardInterrupt goes on.

    Raises:
        UserError: `path` has another suffix than `CODECS`, cannot be opened for writing, or the disk is full.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: a video is written as {' or '.join(CODECS)}; name such a file")
    interrupt: KeyboardInterrupt | None = None
    with quiet_opencv(), atomic_file(path) as temporary:
        writer = VideoWriter(path, temporary, fps)
        try:
            yield writer
        except KeyboardInterrupt as error:
            if path.exists() or not writer.frames:
                raise
            interrupt = error
        finally:
            writer._close()
        writer._verify()
    if interrupt is not None:
        raise interrupt


@contextmanager
def ahead(items: Iterable[T], depth: int = 3) -> Iterator[Iterator[T]]:
    """Iterate over `items` in a thread of its own, up to `depth` of them ahead of the consumer.

    Stages chain: `with ahead(video) as frames, ahead(map(segment, frames)) as masks` decodes, segments and
    consumes at the same time, in order. What a stage raises comes out at the consumer; leaving the block,
    for whatever reason, stops the thread. OpenCV and ONNX Runtime release the GIL, so threads suffice.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, source, end) for _ in range(depth))

        def results() -> Iterator[Any]:
            while (item := pending.popleft().result()) is not end:
                pending.append(thread.submit(next, source, end))
                yield item

        try:
            yield results()
        finally:
            thread.shutdown(cancel_futures=True)
