"""A window on the screen, over a stand-in; tests/device opens real ones where there is a virtual screen."""

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


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What OpenCV is asked, of a window that stays open while nobody presses a key."""
    made: list[Any] = []
    answers = {"waitKey": -1, "getWindowProperty": 1}
    for name in ("namedWindow", "imshow", "resizeWindow", "waitKey", "getWindowProperty", "destroyWindow"):
        answers_with(monkeypatch, made, name, answers.get(name))
    monkeypatch.setattr(window, "check_window", lambda: None)
    return made


def answers_with(monkeypatch: pytest.MonkeyPatch, made: list[Any], name: str, value: Any) -> None:
    def called(*arguments: Any) -> Any:
        made.append((name, *arguments[1:]) if name == "resizeWindow" else name)
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(cv2, name, called)


def picture(height: int, width: int) -> Any:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [
        (-1, 1, True),
        (ord("q"), 1, False),
        (27, 1, False),
        (-1, 0, False),
        (-1, cv2.error("no such window"), False),
    ],
)
def test_q_esc_and_closing_end_it(
    monkeypatch: pytest.MonkeyPatch, calls: list[Any], key: int, visible: Any, goes_on: bool
) -> None:
    answers_with(monkeypatch, calls, "waitKey", key)
    answers_with(monkeypatch, calls, "getWindowProperty", visible)
    with open_window("title") as opened:
        assert opened.show(picture(8, 9)) is goes_on
    assert calls == [
        "namedWindow",
        "imshow",
        ("resizeWindow", 9, 8),
        "waitKey",
        "getWindowProperty",
        "destroyWindow",
    ]


def test_a_window_that_the_user_closed_is_no_error(monkeypatch: pytest.MonkeyPatch, calls: list[Any]) -> None:
    gone = cv2.error("NULL guiReceiver")
    for name in ("resizeWindow", "getWindowProperty", "destroyWindow"):
        answers_with(monkeypatch, calls, name, gone)
    with open_window("title") as opened:
        assert not opened.show(picture(8, 9))


@pytest.mark.parametrize(
    ("size", "shown"), [((480, 640), (640, 480)), ((1080, 1920), (1280, 720)), ((2000, 10), (4, 720))]
)
def test_it_takes_the_first_pictures_size_within_limits(
    calls: list[Any], size: tuple[int, int], shown: tuple[int, int]
) -> None:
    with open_window("title") as opened:
        opened.show(picture(*size))
        opened.show(picture(5, 5))
    assert [call[1:] for call in calls if isinstance(call, tuple)] == [shown]
