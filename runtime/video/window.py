"""A window on the screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.streams import no_stderr
from kd_deploy.runtime.video.opencv import has_windows

_QUIT = (ord("q"), 27)  # q, Esc
_PROBE_SECONDS = 30
_LARGEST = (1280, 720)
"""Width and height that a window does not exceed by itself; the user may draw it larger."""
_REMEDY = "or write a file with -o instead of --show"


class Window:
    """An open window; `open_window` makes it. All calls must come from the main thread."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._fitted = False

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """Show a picture, (H, W, 3) uint8 BGR; False once the user pressed q or Esc, or closed the window."""
        cv2.imshow(self.title, picture)
        if not self._fitted:
            self._fit(*picture.shape[:2])
        key = cv2.waitKey(1)
        return self._is_open() and (key & 0xFF) not in _QUIT

    def _fit(self, height: int, width: int) -> None:
        """Show pictures of that size as they are; left alone, Qt shows every video at 400x300."""
        scale = min(1.0, _LARGEST[0] / width, _LARGEST[1] / height)
        with suppress(cv2.error):  # closed already
            cv2.resizeWindow(self.title, max(1, round(width * scale)), max(1, round(height * scale)))
        self._fitted = True

    def _is_open(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # GTK and Qt know nothing of a window that the user closed
            return False


@contextmanager
def open_window(title: str) -> Iterator[Window]:
    """A window that goes when the block ends.

    Raises:
        MissingComponentError: this OpenCV or this session has no screen.
    """
    check_window()
    with no_stderr():  # Qt complains of fonts that pip's OpenCV does not bring
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    try:
        yield Window(title)
    finally:
        with suppress(cv2.error):  # the user closed it
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
