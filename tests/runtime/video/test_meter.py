"""Frame rate and latencies."""

from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.video.meter import Meter


def test_percentiles_are_within_one_percent() -> None:
    meter = Meter()
    latencies = np.random.default_rng(0).gamma(4, 0.01, 5000)
    for number, latency in enumerate(latencies):
        meter.add(number - latency, number)
    for percent in (1, 50, 99):
        assert meter.latency_ms(percent) == pytest.approx(np.percentile(latencies, percent) * 1000, rel=0.015)
    assert meter.frames == 5000


def test_rate_and_latency_of_now_forget_what_was() -> None:
    meter = Meter(window=10)
    for number in range(20):
        meter.add(number - 0.5, number)
    for number in range(10):
        meter.add(100 + number / 50 - 0.02, 100 + number / 50)
    assert meter.fps == pytest.approx(50)
    assert meter.latest_ms == pytest.approx(20)


def test_nothing_was_measured_yet() -> None:
    assert (Meter().fps, Meter().latest_ms, Meter().latency_ms(50)) == (0, 0, None)


@pytest.mark.parametrize(("latency", "expected"), [(0.0, 0.01), (-1.0, 0.01), (500.0, 81_000)])
def test_what_no_bin_holds_goes_into_the_last(latency: float, expected: float) -> None:
    meter = Meter()
    meter.add(10.0, 10.0 + latency)
    assert meter.latency_ms(50) == pytest.approx(expected, rel=0.02)
