"""Results as tables: nothing is lost, whatever the terminal."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kd_deploy.cli.options import print_table


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_loses_no_character(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """rich cuts a long word with an ellipsis, and takes [x] for markup, unless told otherwise."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table(("", "a[x]/run"), [("path", "c[x]/" + "d" * 60), ("other", "e" * 60), ("none", None)])
    printed = capsys.readouterr().out
    assert "a[x]/run" in printed
    assert "c[x]/" in printed
    assert (printed.count("d"), printed.count("e")) == (60, 62)
    assert ("d" * 60 in printed) or terminal


def test_a_wide_table_stays_a_line_for_each_row_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [("onnxruntime-cpu" * 4, "x" * 60)])
    assert any(
        "onnxruntime-cpu" * 4 in line and "x" * 60 in line for line in capsys.readouterr().out.splitlines()
    )


@pytest.mark.parametrize("option", [("parity", "--max-miou-drop"), ("benchmark", "--seconds")])
@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
def test_what_is_no_limit_is_2(option: tuple[str, str], number: str, kd: Any) -> None:
    """nan is neither below a limit nor above it, and a benchmark of endless seconds never ends."""
    command, name = option
    outcome = kd(command, "bundle", f"{name}={number}")
    assert outcome.code == 2
    assert name in outcome.err
    assert "finite" in outcome.err or number == "-1"
