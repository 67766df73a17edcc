"""What OpenCV prints, and what this build of it can do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


_SILENT = 0  # LOG_LEVEL_SILENT, which OpenCV 4 has no name for


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep what OpenCV and its FFmpeg print on stderr from the user: our own message says it.

    FFmpeg's level is read once in a process, when the first video is opened; -8 is AV_LOG_QUIET.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, and 5
    level = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: OpenCV prints past its log level that WebM has no codec tags."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def file_backend() -> int:
    """FFmpeg alone where OpenCV has it: others print past every log level, or take a name for a pattern."""
    return int(cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY)


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer: pip's never is, the one of Ubuntu and JetPack is."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def has_windows() -> bool:
    """Whether this OpenCV was built with a window system: opencv-python-headless is not."""
    return re.search(r"GUI:\s+NONE", cv2.getBuildInformation()) is None
