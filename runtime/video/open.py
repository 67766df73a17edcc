"""Open a source with the backend of OpenCV that suits it."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video.live import PATIENCE, LiveVideo
from kd_deploy.runtime.video.opencv import (
    file_backend,
    has_gstreamer_timeouts,
    opencv_name,
    opencv_words,
    quiet_opencv,
    utf8,
)
from kd_deploy.runtime.video.reader import Video
from kd_deploy.runtime.video.source import Source, mask_passwords, parse_source

OPEN_SECONDS = 10
"""How long an address may take to answer."""

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


@contextmanager
def read_video(path: Path) -> Iterator[Video]:
    """Open a video file.

    Raises:
        UserError: no such file, or not one frame of it can be decoded.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such video file; check the path")
    name = opencv_name(path)
    with quiet_opencv(), _released(cv2.VideoCapture(name, file_backend())) as capture:
        yield Video(str(path), capture)


@contextmanager
def open_video(source: Source | str) -> Iterator[Video | LiveVideo]:
    """Open any source: a `Video` where it has an end, else a `LiveVideo` that is being grabbed already.

    An address is live unless its container announces a length (an mp4 on a web server).

    Raises:
        UserError: it is missing, does not open, or gives no frame.
        MissingComponentError: a pipeline that needs GStreamer, which this OpenCV lacks.
    """
    if isinstance(source, str):
        source = parse_source(source)
    if source.kind == "path":
        with read_video(Path(source.target)) as video:
            yield video
        return
    with quiet_opencv(), _live(source) as opened:
        yield opened


@contextmanager
def _live(source: Source) -> Iterator[Video | LiveVideo]:
    with opencv_words() as words:
        capture = _capture(source)
    if not capture.isOpened():
        capture.release()
        raise UserError(f"{source.name}: {_REMEDY[source.kind].format(reason=_reason(words))}")
    announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if source.finite or (source.kind == "url" and announced > 0):
        with _released(capture):
            yield Video(source.name, capture)
        return
    try:
        video = LiveVideo(source.name, capture)
    except BaseException:
        capture.release()
        raise
    try:
        yield video
    finally:
        if video.close():
            capture.release()


_REMEDY = {
    "camera": "cannot be opened; check that it is plugged in (ls /dev/video*), that you may read it (group video) "
    "and that no other program holds it",
    "url": f"cannot be opened (refused, no answer within {OPEN_SECONDS} s, wrong user or password, or no video); "
    "try it with ffprobe",
    "pipeline": "GStreamer cannot start it{reason}; try it with gst-launch-1.0",
}


def _reason(words: list[str]) -> str:
    """What the element at fault said, as OpenCV passes it on; of an element that does not exist it says nothing."""
    found = re.search(r"module (\S+) reported: (.+)", "".join(words))
    return f" ({found[1]}: {mask_passwords(found[2].strip().rstrip('.'))})" if found else ""


def _capture(source: Source) -> Any:
    """A `cv2.VideoCapture`, opened or not."""
    if source.kind == "camera":
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", f"{PATIENCE:.0f}")  # seconds; 10 without
        device: int | str = int(source.target) if source.target.isdigit() else source.target
        return cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    timeouts = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_SECONDS * 1000),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(PATIENCE * 1000)),
    )
    if source.kind == "pipeline":
        own = timeouts if has_gstreamer_timeouts() else ()
        return _in_time(source.name, lambda: cv2.VideoCapture(utf8(source.target), cv2.CAP_GSTREAMER, own))
    with _environment(_FFMPEG_OPTIONS, "rtsp_transport;tcp"):
        return cv2.VideoCapture(utf8(source.target), file_backend(), timeouts)


def _in_time(name: str, open_capture: Callable[[], Any]) -> Any:
    """Open a pipeline beside the caller: one that never starts would hold OpenCV below 4.7, and Ctrl-C, for ever."""
    opened: Future[Any] = Future()

    def work() -> None:
        try:
            opened.set_result(open_capture())
        except BaseException as error:
            opened.set_exception(error)

    threading.Thread(target=work, name=f"open {name}", daemon=True).start()
    wait([opened], OPEN_SECONDS + 1)
    if not opened.done():
        raise UserError(
            f"{name}: GStreamer gives no frame within {OPEN_SECONDS} s; try it with gst-launch-1.0, which names "
            "elements that do not exist"
        )
    return opened.result()


@contextmanager
def _environment(key: str, value: str) -> Iterator[None]:
    """Set a variable that OpenCV reads at each opening, unless the user has."""
    if key in os.environ:
        yield
        return
    os.environ[key] = value
    try:
        yield
    finally:
        del os.environ[key]


@contextmanager
def _released(capture: Any) -> Iterator[Any]:
    try:
        yield capture
    finally:
        capture.release()
