"""The plot of a comparison."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from kd_deploy.compare import compare
from kd_deploy.report.methods import draw_methods, write_methods
from tests.kd_deploy.runs import write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    write_run(tmp_path / "teacher", "teacher", 50.0)
    alone = [write_run(tmp_path / f"a{seed}", "alone", 40.0 + seed, seed=seed) for seed in (0, 1)]
    return [*alone, *(write_run(tmp_path / f"k{seed}", "kd", 45.0 + seed, seed=seed) for seed in (0, 1, 2))]


def test_every_seed_is_a_dot_the_mean_a_bar_and_the_measures_are_lines(runs: list[Path]) -> None:
    miou, boundary, trimap = draw_methods(compare(runs)).axes
    assert [label.get_text() for label in miou.get_yticklabels()] == ["student alone", "kd"]
    drawn = [(list(line.get_xdata()), line.get_marker()) for line in miou.get_lines()]
    assert ([50.0, 50.0], "None") in drawn
    assert ([40.5, 40.5], "None") in drawn
    assert ([45.0, 46.0, 47.0], "o") in drawn
    assert "46.0 ± 1.0" in {text.get_text() for text in miou.texts}
    assert ([22.5, 23.0, 23.5], "o") in [(list(x.get_xdata()), x.get_marker()) for x in boundary.get_lines()]
    assert ([37.0, 38.0, 39.0], "o") in [(list(x.get_xdata()), x.get_marker()) for x in trimap.get_lines()]


def test_a_score_that_no_run_or_one_seed_lacks(runs: list[Path], tmp_path: Path) -> None:
    old = write_run(tmp_path / "old", "kd", 48.0, seed=3, trimap_iou={})
    trimap = draw_methods(compare([*runs, old])).axes[2]
    assert {text.get_text() for text in trimap.texts} == {"32.5 ± 0.7"}  # of the student alone
    assert len(draw_methods(compare([old])).axes) == 2


def test_a_single_run_is_drawn(runs: list[Path], tmp_path: Path) -> None:
    write_methods(tmp_path / "one.png", compare(runs[:1]))
    assert cv2.imread(str(tmp_path / "one.png")).shape[1] > 1000
    write_methods(tmp_path / "teacher.svg", compare([tmp_path / "teacher"]))
    assert ">teacher</text>" in (tmp_path / "teacher.svg").read_text()
