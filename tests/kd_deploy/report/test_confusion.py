"""The confusion matrix that a page shows."""

from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.report.confusion import READABLE, confusion
from kd_deploy.runtime.metrics import Score


def score(count: int, *pairs: tuple[int, int, int]) -> Score:
    """Of (truth, prediction, pixels)."""
    total = Score([f"c{n}" for n in range(count)])
    for truth, prediction, pixels in pairs:
        total.update(np.full((1, pixels), truth, np.uint8), np.full((1, pixels), prediction, np.uint8))
    return total


def test_shares_of_the_truth_and_the_largest_confusions() -> None:
    found = confusion(score(3, (0, 0, 6), (0, 1, 2), (1, 0, 6), (1, 1, 2)).result())
    assert found.rows_by_name[0] == ("c0", [75.0, 25.0, 0.0])
    assert found.rows_by_name[2] == ("c2", [None, None, None])  # no pixel of it
    assert found.largest == [
        ("c1", "c0", pytest.approx(75.0), pytest.approx(75.0)),
        ("c0", "c1", pytest.approx(25.0), pytest.approx(25.0)),
    ]


def test_a_perfect_network_confuses_nothing() -> None:
    assert confusion(score(2, (0, 0, 4), (1, 1, 4)).result()).largest == []


def test_of_many_classes_the_most_wrong_are_shown() -> None:
    found = confusion(score(60, (50, 59, 9), (7, 7, 100)).result())
    assert len(found.names) == len(found.rows) == len(found.rows[0]) - 1 == READABLE
    assert {"c50", "c59"} <= set(found.names)
    assert found.names == sorted(found.names, key=lambda name: int(name[1:]))
    assert found.classes == 60


def test_what_is_taken_for_a_class_that_is_not_shown() -> None:
    most = [(n, n + 1, 20) for n in range(0, READABLE, 2)]
    found = confusion(score(READABLE + 1, *most, (0, READABLE, 5)).result())
    assert found.names == [f"c{n}" for n in range(READABLE)]
    assert found.rows[0] == [0.0, 80.0, *[0.0] * (READABLE - 2), 20.0]
    assert found.rows[1] == [None] * (READABLE + 1)
