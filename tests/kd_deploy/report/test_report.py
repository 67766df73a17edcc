"""The parts of a report: plots of what was logged, frames that differ most, escaped pages."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from kd_deploy.report import figures
from kd_deploy.report.demo import class_rows, gap_closed
from kd_deploy.report.frames import compare_frames, panels, write_sheet
from kd_deploy.report.page import render
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.model import Description, Model

PALETTE = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)


class Constant(Model):
    """Every pixel is `value`."""

    size = (4, 6)

    def __init__(self, value: int) -> None:
        self.value = value

    def describe(self) -> Description:
        return Description("constant", "none", "here", {})

    def _run(self, frames: Any) -> Any:
        return np.full(frames.shape[:3], self.value, np.uint8)

    def close(self) -> None: ...


class Shares:
    """Frame i has i pixels of class 1, the rest is class 0; the first column is ignored."""

    classes = ("a", "b")
    palette = PALETTE

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Frame:
        label = np.zeros((4, 6), np.uint8)
        label[0, 1 : 1 + index] = 1
        label[:, 0] = 255
        return Frame(str(index), np.zeros((4, 6, 3), np.uint8), label)


def test_the_frames_that_differ_most_come_in_the_order_of_the_data(tmp_path: Any) -> None:
    models = {"zero": Constant(0), "one": Constant(1)}
    found = compare_frames(models, Shares(), better="zero", worse="one", count=2)
    assert [comparison.frame.name for comparison in found] == ["0", "1"]  # 20:0 and 19:1 of 20 pixels
    assert found[1].right == {"zero": 95.0, "one": 5.0}
    row = panels(found[1], PALETTE)
    assert [caption for caption, _ in row] == ["frame", "labels", "zero: 95.0 % right", "one: 5.0 % right"]
    assert row[3][1][0, 0].tolist() == [50, 100, 200]  # BGR
    write_sheet(tmp_path / "sheet.png", [row, row])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 2 * 2 * 4


def test_curves_show_every_run_and_terms_only_those_that_distil() -> None:
    plain = [
        {"kind": "train", "step": 1, "ce": 1.0, "ce.weighted": 1.0},
        {"kind": "evaluate", "step": 1, "miou": 3.0},
    ]
    distilled = [{**plain[0], "cwd.weighted": 2.0}, plain[1]]
    drawn = figures.curves({"alone": plain, "distilled": distilled})
    assert {"alone", "distilled"} <= set(re.findall(r">([a-z]+)</text>", drawn))
    terms = figures.terms({"alone": plain, "distilled": distilled})
    words = set(re.findall(r">([a-z]+)</text>", terms))
    assert {"distilled", "ce", "cwd"} <= words
    assert "alone" not in words
    assert figures.curves({"alone": plain}) == figures.curves({"alone": plain})


def test_shares_of_the_gap() -> None:
    assert gap_closed(50.0, 40.0, 45.0) == pytest.approx(50.0)
    assert gap_closed(50.0, 40.0, 38.0) == pytest.approx(-20.0)
    assert gap_closed(40.0, 40.0, 45.0) is None
    rows = class_rows({"t": {"classes": {"a": 1.0, "b": None}}, "s": {"classes": {"a": 2.0, "b": 3.0}}})
    assert rows == [("a", [1.0, 2.0]), ("b", [None, 3.0])]


def test_a_page_misses_no_value() -> None:
    with pytest.raises(UndefinedError):
        render("demo.html.j2")
    assert "<title>kd-deploy</title>" in render("base.html.j2")
