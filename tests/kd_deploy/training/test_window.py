"""Sums and times of a logging interval."""

from __future__ import annotations

import time

import pytest

from kd_deploy.training.window import Window


def test_a_windows_time_survives_a_save_and_leaves_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    window = Window()
    window.waited += 0.5
    clock[0] = 2.0
    assert window.state()["seconds"] == 2.0  # Ctrl-C saves while the clock runs
    window.pause()
    clock[0] = 5.0
    assert window.state()["seconds"] == 2.0
    again = Window(**window.state())
    clock[0] = 6.0
    assert again.seconds == 3.0
    assert again.waited == 0.5
