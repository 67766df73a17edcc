"""Plots of what was logged."""

from __future__ import annotations

import re
from typing import Any

from kd_deploy.report import figures
from kd_deploy.report.drawing import COLORS, INK

TRAIN: dict[str, Any] = {"kind": "train", "step": 1, "ce": 1.0, "ce.weighted": 1.0, "lr": 0.1}
EVALUATE: dict[str, Any] = {"kind": "evaluate", "step": 1, "miou": 3.0, "boundary_iou": 2.0}
PLAIN = [TRAIN, EVALUATE]
DISTILLED = [
    TRAIN | {"cwd": 2.0, "cwd.weighted": 4.0, "ce.gradient": 0.5, "cwd.gradient": 0.25},
    TRAIN | {"step": 2, "cwd": 1.0, "cwd.weighted": 2.0, "ce.gradient": 0.5, "cwd.gradient": 0.2},
    EVALUATE,
    EVALUATE | {"step": 2},
]


def words(drawn: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", drawn)


def test_curves_show_every_run_and_terms_only_those_that_distil() -> None:
    drawn = figures.curves({"alone": PLAIN, "distilled": DISTILLED})
    assert {"alone", "distilled"} <= set(words(drawn))
    terms = words(figures.terms({"alone": PLAIN, "distilled": DISTILLED}))
    assert {"distilled", "ce", "cwd"} <= set(terms)
    assert "alone" not in terms
    assert figures.curves({"alone": PLAIN}) == figures.curves({"alone": PLAIN})


def test_a_runs_plots_are_those_of_what_it_logged() -> None:
    every = figures.training(DISTILLED)
    assert every.count("<svg") == 5
    assert "gradients of the weighted terms at the student" in words(every)
    plain = figures.training(PLAIN)  # one evaluation is no curve
    assert plain.count("<svg") == 3
    assert "scores on val" not in words(plain)
    assert figures.training([]) == ""


def test_a_value_that_an_interval_lacks_is_left_out() -> None:
    late = [
        TRAIN | {"cwd.weighted": 1.0, "cwd": 1.0},
        {"kind": "train", "step": 2, "ce": 1.0, "ce.weighted": 1.0},
    ]
    assert "cwd" in words(figures.training(late))


def test_wide_ranges_are_logarithmic() -> None:
    def ticks(*values: float) -> list[str]:
        lines = [TRAIN | {"step": n, "ce": x, "ce.weighted": x} for n, x in enumerate(values)]
        return words(figures.training(lines))

    assert "60" not in ticks(100.0, 1.0, 0.0)  # 1, 10, 100; a zero has no place
    assert "60" in ticks(100.0, 10.0)


def test_drawings_take_the_pages_colours() -> None:
    drawn = figures.curves({"alone": PLAIN})
    assert INK not in drawn
    assert not any(color in drawn for color in COLORS)
    assert "var(--ink)" in drawn
    assert "var(--c0)" in drawn


def test_trimaps_show_every_network_over_the_widths() -> None:
    scores = {1: 10.0, 2: 12.0, 4: None}
    drawn = figures.trimaps(
        {"teacher": scores, "this run": scores}, {"teacher": COLORS[0], "this run": COLORS[2]}
    )
    assert {"teacher", "this run", "1", "2", "4"} <= set(words(drawn))
    assert "var(--c0)" in drawn
    assert "var(--c2)" in drawn
