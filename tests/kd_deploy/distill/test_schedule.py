"""How a weight moves over the run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kd_deploy.config.terms import Schedule
from kd_deploy.distill.schedule import factor


def along(total: int, **section: Any) -> list[float]:
    schedule = Schedule(**section)
    return [factor(schedule, step, total) for step in range(total + 1)]


def test_constant_is_its_start() -> None:
    assert along(3, kind="constant", start=0.5) == [0.5] * 4


def test_linear_is_the_share_of_the_run() -> None:
    """ALW: a = step / total steps, and 1 - a."""
    assert along(4, kind="linear", start=0.0, end=1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert along(4, kind="linear", start=1.0, end=0.0) == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_cosine_is_flat_at_both_ends() -> None:
    values = along(100, kind="cosine", start=2.0, end=1.0)
    assert values == pytest.approx([1 + (1 + math.cos(math.pi * step / 100)) / 2 for step in range(101)])
    assert values[0] - values[1] < 1e-3 > values[-2] - values[-1]


def test_poly_falls_by_its_power() -> None:
    assert along(4, kind="poly", start=1.0, end=0.0, power=2.0) == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    assert along(4, kind="poly", start=3.0, end=1.0, power=1.0) == [3.0, 2.5, 2.0, 1.5, 1.0]
    assert along(10, kind="poly", start=1.0, end=0.0)[1] == pytest.approx(0.9**0.9)


def test_a_warm_up_rises_from_zero_and_stays() -> None:
    assert along(6, kind="warmup", over=(0, 4)) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert along(6, kind="warmup", over=(2, 4), end=2.0) == [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", ["linear", "cosine", "poly"])
def test_over_names_its_steps(kind: str) -> None:
    values = along(10, kind=kind, start=1.0, end=0.0, over=(3, 7))
    assert values[:4] == [1.0] * 4
    assert values[7:] == [0.0] * 4
    assert values[4:7] == along(4, kind=kind, start=1.0, end=0.0)[1:4]


@pytest.mark.parametrize("kind", ["linear", "cosine", "poly", "warmup"])
def test_the_ends_are_exact(kind: str) -> None:
    values = along(3, kind=kind, start=0.1, end=0.7, over=(0, 3))
    assert (values[0], values[-1]) == (0.1, 0.7)


@pytest.mark.parametrize("step", [-1, 5])
def test_a_step_outside_the_run(step: int) -> None:
    with pytest.raises(ValueError, match=f"step {step} is outside a run of 4"):
        factor(Schedule(), step, 4)
