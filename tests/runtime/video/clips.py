"""Small videos, whole and damaged, and a source that does not wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from queue import Queue

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.video import VideoWriter, write_video


def grey(level: int, size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    return np.full((*size, 3), level, np.uint8)


def write(path: Path, frames: Iterable[NDArray[np.uint8]], then: BaseException | None = None) -> VideoWriter:
    """Write the frames at 25 frames/s, then raise `then`."""
    with write_video(path, 25) as sink:
        for frame in frames:
            sink.write(frame)
        if then is not None:
            raise then
    return sink


def write_avi(path: Path, frames: int) -> None:
    """Motion JPEG: its header announces the length, so a cut file still opens."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    for _ in range(frames):
        writer.write(noise)
    writer.release()


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_moving(path: Path, frames: int = 60) -> Path:
    """A picture that moves, 160 x 120 at 25 frames/s."""
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    write(path, (np.roll(picture, 3 * number, axis=1) for number in range(frames)))
    return path


def damage(path: Path, begin: float = 0.5, share: float = 0.1) -> Path:
    """Overwrite a share of the file's bytes in its middle with zeros."""
    data = bytearray(path.read_bytes())
    first, count = round(begin * len(data)), round(share * len(data))
    data[first : first + count] = bytes(count)
    path.write_bytes(data)
    return path


class Camera:
    """A capture whose frames come when the test gives them: a picture, None for a read that fails, or an error."""

    def __init__(self, *given: NDArray[np.uint8] | BaseException | None, fps: float = 25.0) -> None:
        self.waiting: Queue[NDArray[np.uint8] | BaseException | None] = Queue()
        self.fps = fps
        self.released = False
        for item in given:
            self.waiting.put(item)

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return True

    def get(self, key: int) -> float:
        return self.fps if key == cv2.CAP_PROP_FPS else -1.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Waits for a frame as a driver does; nothing for 10 ms is a failed read."""
        try:
            item = self.waiting.get(timeout=0.01)
        except Exception:
            return False, None
        if isinstance(item, BaseException):
            raise item
        return item is not None, item

    def release(self) -> None:
        self.released = True
