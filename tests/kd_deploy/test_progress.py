"""Progress off a terminal: a line per interval, on stderr alone."""

from __future__ import annotations

import re
import threading
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from kd_deploy.progress import Progress, counted


def test_an_interval_is_a_line_with_every_term(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("run", 40, start=10) as progress:
        progress.advance(20)
        progress.interval(20, {"loss": 1.5, "bpkd.body": 0.25, "bpkd.body.weighted": 2.5})
        progress.note("step 20: val mIoU [1.00]")
    out, err = capsys.readouterr()
    line, note = err.splitlines()
    assert re.fullmatch(r"run: 20/40  loss 1.5  bpkd.body 0.25  [\d.]+ it/s  ETA \d+ s", line)
    assert note == "run: step 20: val mIoU [1.00]"
    assert out == ""


def test_a_silent_process_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("run", 40, silent=True) as progress:
        progress.interval(20, {"loss": 1.5})
        progress.note("step 20")
    assert capsys.readouterr() == ("", "")


def test_a_total_may_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("video", None) as progress:
        progress.advance(1, None)
        progress.advance(2, 5)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_a_line_at_most_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("kd_deploy.progress.time", SimpleNamespace(monotonic=lambda: now))
    with Progress("evaluate", None) as progress:
        for step in range(1, 13):
            now = 2.0 * step
            progress.advance(step, 12 if step > 5 else None)
    assert capsys.readouterr().err.splitlines() == [
        "evaluate: 5  0.50 it/s",
        "evaluate: 10/12  0.50 it/s  ETA 4 s",
    ]


def test_counted_hands_on_every_item_and_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.progress.SILENT_SECONDS", 0.0)
    assert list(counted("measure", iter("ab"), 2)) == ["a", "b"]
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[:2] for line in err.splitlines()] == [["measure:", "1/2"], ["measure:", "2/2"]]


def test_a_still_bar_has_no_thread_and_is_drawn_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=StringIO(), force_terminal=True)
    monkeypatch.setattr("kd_deploy.progress.Console", lambda **options: screen)
    before = threading.active_count()
    with Progress("benchmark", 2, still=True) as progress:
        assert threading.active_count() == before
        progress.advance(1)
        assert "1/2" in screen.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
