"""A window on the screen; no test opens one, because the machines that test have none."""

from __future__ import annotations

import os
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.video import window
from kd_deploy.runtime.video.window import check_window, open_window


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "has_windows", lambda: True)


def refusal() -> str:
    with pytest.raises(MissingComponentError) as caught:
        check_window()
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_headless_build_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "has_windows", lambda: False)
    assert "pip uninstall opencv-python-headless" in refusal()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no DISPLAY")
@pytest.mark.usefixtures("windows")
def test_no_display_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert refusal().startswith("display: DISPLAY is not set")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no DISPLAY")
@pytest.mark.skipif(
    "GUI:                           NONE" in cv2.getBuildInformation(), reason="headless OpenCV"
)
@pytest.mark.usefixtures("windows")
def test_a_display_that_is_not_there_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DISPLAY", ":987")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert refusal().startswith("display: OpenCV cannot open a window on ':987'")


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"), [(-1, 1, True), (ord("q"), 1, False), (27, 1, False), (-1, 0, False)]
)
def test_q_esc_and_closing_end_it(
    monkeypatch: pytest.MonkeyPatch, key: int, visible: int, goes_on: bool
) -> None:
    calls: list[str] = []

    def says(name: str, value: Any = None) -> None:
        monkeypatch.setattr(cv2, name, lambda *_: calls.append(name) or value)

    for name, value in {"imshow": None, "waitKey": key, "getWindowProperty": visible}.items():
        says(name, value)
    says("namedWindow")
    says("destroyWindow")
    monkeypatch.setattr(window, "check_window", lambda: None)
    with open_window("title") as opened:
        assert opened.show(np.zeros((8, 8, 3), np.uint8)) is goes_on
    assert calls == ["namedWindow", "imshow", "waitKey", "getWindowProperty", "destroyWindow"]
