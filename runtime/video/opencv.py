"""What OpenCV prints, and what this build of it can do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.streams import stderr_words

_SILENT, _WARNING = 0, 3  # LOG_LEVEL_SILENT and _WARNING, which OpenCV 4 has no names for


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep what OpenCV and its FFmpeg print on stderr from the user: our own message says it.

    FFmpeg's level is read once in a process, when the first video is opened; -8 is AV_LOG_QUIET.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _log_level(_SILENT):
        yield


@contextmanager
def opencv_words() -> Iterator[list[str]]:
    """Take what OpenCV, and the libraries under it, warn of instead of printing it: `stderr_words`."""
    with stderr_words() as words, _log_level(_WARNING):
        yield words


@contextmanager
def _log_level(level: int) -> Iterator[None]:
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, and 5
    before = logging.getLogLevel()
    logging.setLogLevel(level)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def opencv_name(path: Path) -> str:
    """The name under which OpenCV finds a file; without a slash FFmpeg takes what stands before a colon for a protocol.

    Raises:
        UserError: the name is not UTF-8.
    """
    return utf8(str(path)) if path.is_absolute() else f".{os.sep}{utf8(str(path))}"


def utf8(name: str) -> str:
    """A name for OpenCV, which wants UTF-8 in every locale and ends the process over anything else.

    Raises:
        UserError: the bytes that were given on the command line are no UTF-8.
    """
    try:
        return os.fsencode(name).decode()
    except UnicodeError as error:
        raise UserError(f"{name}: is not UTF-8, which OpenCV needs for videos; rename it") from error


def file_backend() -> int:
    """FFmpeg alone where OpenCV has it: others print past every log level, or take a name for a pattern."""
    return int(cv2.CAP_FFMPEG if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG) else cv2.CAP_ANY)


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer: pip's never is, the one of Ubuntu and JetPack is."""
    return bool(build_options(cv2.getBuildInformation())["gstreamer"])


def has_gstreamer_timeouts() -> bool:
    """Whether a pipeline takes them: from OpenCV 4.7 on (opencv#22919); older ones refuse to open with any."""
    major, minor = cv2.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (4, 7)


def has_windows() -> bool:
    """Whether this OpenCV was built with a window system: opencv-python-headless is not."""
    return bool(build_options(cv2.getBuildInformation())["gui"])


def build_options(information: str) -> dict[str, str]:
    """gui, ffmpeg, gstreamer and v4l of `cv2.getBuildInformation()`; "" is no."""
    keys = {"gui": "GUI", "ffmpeg": "FFMPEG", "gstreamer": "GStreamer", "v4l": "v4l/v4l2"}
    found = {}
    for key, title in keys.items():
        match = re.search(rf"^[ ]*{title}:[ ]*(.*?)[ ]*$", information, re.MULTILINE)
        value = match[1] if match else ""
        found[key] = "" if value.partition(" ")[0] in ("NO", "NONE") else value
    return found
