"""A window on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.video.opencv import has_windows

_QUIT = (ord("q"), 27)  # q, Esc
_PROBE_SECONDS = 30
_REMEDY = "or write a file with -o instead of --show"


class Window:
    """An open window; `open_window` makes it. All calls must come from the main thread."""

    def __init__(self, title: str) -> None:
        self.title = title

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """Show a picture, (H, W, 3) uint8 BGR; False once the user pressed q or Esc, or closed the window."""
        cv2.imshow(self.title, picture)
        key = cv2.waitKey(1)
        closed = cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
        return not closed and (key & 0xFF) not in _QUIT


@contextmanager
def open_window(title: str) -> Iterator[Window]:
    """A window that goes when the block ends.

    Raises:
        MissingComponentError: this OpenCV or this session has no screen.
    """
    check_window()
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
    try:
        yield Window(title)
    finally:
        cv2.destroyWindow(title)


def check_window() -> None:
    """Raise a MissingComponentError where no window can be opened, before any work is done.

    The last check opens one in a process of its own, because Qt ends the process where it finds no screen.
    """
    if not has_windows():
        raise MissingComponentError(
            "opencv: this build (headless) opens no windows; pip uninstall opencv-python-headless, then "
            f"pip install opencv-python, {_REMEDY}"
        )
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise MissingComponentError(
            f"display: DISPLAY is not set, so there is no screen; log in on the desktop or use ssh -X, {_REMEDY}"
        )
    command = [sys.executable, "-c", "import cv2; cv2.namedWindow('kd-deploy'); cv2.waitKey(1)"]
    try:
        probe = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
        opens = probe.returncode == 0
    except subprocess.TimeoutExpired:
        opens = False
    if not opens:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY", "")
        raise MissingComponentError(
            f"display: OpenCV cannot open a window on {display!r}; check DISPLAY and xauth, {_REMEDY}"
        )
