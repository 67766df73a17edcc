"""Frames as several models see them: which are shown, and as what pictures."""

from __future__ import annotations

import base64
import re
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.report.frames import (
    WIDEST,
    Comparison,
    figure,
    largest,
    legend,
    mask_figure,
    of_each_stretch,
    panels,
    row,
    segmented,
    write_sheet,
)
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Score
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

    def _close(self) -> None: ...


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
        return Frame(f"val/{index}.png", np.zeros((4, 6, 3), np.uint8), label)


MODELS = {"zero": Constant(0), "one": Constant(1)}


def lead(comparison: Comparison) -> float:
    return comparison.lead("zero", "one")


def decoded(html: str) -> Any:
    (uri,) = re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', html)
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri), np.uint8), cv2.IMREAD_COLOR)


def test_the_frames_that_differ_most_come_in_the_order_of_the_data(tmp_path: Any) -> None:
    found = largest(segmented(MODELS, Shares()), lead, 2)
    assert [comparison.index for comparison in found] == [0, 1]  # 20:0 and 19:1 of 20 pixels
    assert found[1].right == {"zero": 95.0, "one": 5.0}
    shown = panels(found[1], PALETTE)
    assert [caption for caption, _ in shown] == ["frame", "labels", "zero: 95.0 % right", "one: 5.0 % right"]
    assert shown[3][1][0, 0].tolist() == [50, 100, 200]  # BGR
    write_sheet(tmp_path / "sheet.png", [shown, shown])
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] > 2 * 2 * 4


def test_one_frame_of_each_stretch() -> None:
    def right(comparison: Comparison) -> float:
        return comparison.right["one"]

    def chosen(count: int) -> list[int]:
        return [c.index for c in of_each_stretch(segmented(MODELS, Shares()), right, count, 5)]

    assert chosen(2) == [2, 4]  # of 0, 1, 2 and of 3, 4
    assert chosen(9) == [0, 1, 2, 3, 4]


def test_scores_and_progress_on_the_way() -> None:
    scores, steps = {name: Score(Shares.classes) for name in MODELS}, []
    assert len(list(segmented(MODELS, Shares(), scores=scores, progress=steps.append))) == 5
    assert steps == [1, 2, 3, 4, 5]
    assert scores["one"].result().pixel_accuracy == pytest.approx(100 * 10 / 100)
    assert scores["zero"].result().images == 5


def test_a_mask_is_shown_without_loss_and_a_large_frame_smaller() -> None:
    mask = np.tile(np.array([[0, 1], [1, 255]], np.uint8), (8, 8))
    assert np.array_equal(decoded(mask_figure("m", mask, PALETTE))[:2, :2, 2], [[10, 200], [200, 0]])
    image = np.full((WIDEST, 2 * WIDEST, 3), 77, np.uint8)
    assert decoded(figure("<f>", image)).shape == (WIDEST // 2, WIDEST, 3)
    assert "&lt;f&gt;" in figure("<f>", image)


def test_a_row_is_the_frame_its_labels_and_every_mask() -> None:
    html = row(next(segmented(MODELS, Shares())), PALETTE)
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", html)
    assert captions == ["0", "labels", "zero: 100.0 % right", "one: 0.0 % right"]


def test_the_legend_names_the_classes_that_are_there() -> None:
    masks = [np.array([[1, 255]], np.uint8), np.array([[1, 1]], np.uint8)]
    assert legend(masks, ("a", "b"), PALETTE) == [("b", "rgb(200, 100, 50)")]
