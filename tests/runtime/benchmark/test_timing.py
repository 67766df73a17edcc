"""What is made of samples."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kd_deploy.runtime.benchmark import Timing, to_json
from kd_deploy.runtime.benchmark.tegrastats import Power
from kd_deploy.runtime.model import Description

POWER = Power(3, 5000.0, ("VDD_IN",), {"VDD_IN": 5000.0}, None, None, None, None, None)


def timing(samples: list[float], load: float | None = 0.0, batch: int = 1, precision: str = "fp32") -> Timing:
    return Timing(Description("fake", precision, "nothing", {}), "session", batch, "24x32", samples, load)


def test_percentiles_are_not_clipped() -> None:
    samples = [float(ms) for ms in (*range(1, 101), 1000)]
    result = timing(samples, batch=4).to_json()
    assert (result["p50_ms"], result["p90_ms"], result["p99_ms"]) == (51.0, 91.0, 100.0)
    assert (result["min_ms"], result["max_ms"], result["n"]) == (1.0, 1000.0, 101)
    assert result["fps"] == pytest.approx(4 * 1000 / 51)
    assert result["samples_ms"] == samples


def test_noise_is_said_of_the_spread_and_of_the_load() -> None:
    quiet, wide = [10.0] * 20, [10.0] * 10 + [20.0] * 5
    assert timing(quiet).noise is None
    assert timing(quiet, load=None).noise is None
    assert (timing(wide).noise or "").startswith("noisy: p90 is 2.00 times p50;")
    assert (timing(quiet, load=0.9).noise or "").startswith("noisy: 0.90 processes per core")
    both = timing(wide, load=0.9)
    assert "p90 is 2.00 times p50 and 0.90 processes per core" in (both.noise or "")
    assert both.to_json()["spread"] == 2.0
    assert both.to_json()["load"] == 0.9


def test_a_video_leaves_its_queues_in_bursts_and_is_timed_as_a_whole() -> None:
    result = replace(timing([1.0, 1.0, 1.0, 37.0]), boundary="video", whole_seconds=0.05)
    assert result.fps == pytest.approx(80)
    assert result.noise is None
    assert replace(result, load=0.9).noise


def test_energy_is_power_over_frames_a_second() -> None:
    assert timing([20.0]).energy_mj is None
    powered = replace(timing([20.0]), power=POWER)
    assert powered.energy_mj == pytest.approx(5000 / 50)
    assert powered.to_json()["power"]["total_mw"] == 5000
    assert replace(powered, power=replace(POWER, total_mw=None)).energy_mj is None


def test_json_has_what_benchmark_json_promises() -> None:
    timings = [timing([10.0], precision="fp32"), timing([4.0], precision="int8")]
    value = json.loads(
        json.dumps(to_json(timings, [{"threads": 1}, {"threads": 2, "memory": {"before": 0}}]))
    )
    assert set(value) == {"results", "environment"}
    first, second = value["results"]
    assert {"backend", "precision", "device", "versions", "boundary", "batch", "size", "n"} <= set(first)
    assert (first["ratio"], second["ratio"]) == (1.0, 0.4)
    assert (first["threads"], second["threads"]) == (1, 2)
    assert set(first["memory"]) == {"ran"}
    assert set(second["memory"]) == {"before", "ran"}
    assert "versions" in value["environment"]


def test_a_ratio_is_of_the_first_of_its_own_boundary() -> None:
    framed = [replace(timing([ms]), boundary="frame") for ms in (50.0, 25.0)]
    entries = to_json([timing([10.0]), timing([5.0]), *framed])["results"]
    assert [each["ratio"] for each in entries] == [1.0, 0.5, 1.0, 0.5]


def test_frames_of_another_size_are_in_no_ratio() -> None:
    framed = [
        replace(timing([ms]), boundary="frame", frame_size=size)
        for size, ms in (("24x32", 10.0), ("720x1280", 20.0), ("720x1280", 30.0))
    ]
    entries = to_json(framed)["results"]
    assert [each["frame_size"] for each in entries] == ["24x32", "720x1280", "720x1280"]
    assert [each["ratio"] for each in entries] == pytest.approx([1.0, 1.0, 1.5])
