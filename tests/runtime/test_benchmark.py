from __future__ import annotations

import json
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest

from kd_deploy.runtime import benchmark as module
from kd_deploy.runtime.benchmark import Timing, benchmark_all, to_json
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Description


class Clock:
    """Time that passes only while a model runs."""

    def __init__(self):
        self.now = 0

    def perf_counter_ns(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter_ns=clock.perf_counter_ns))
    return clock


def timed(fake_model, clock, milliseconds, log=None, name=""):
    """A model whose calls take the given milliseconds, in turn."""
    count = 0

    def function(frames):
        nonlocal count
        clock.now += int(milliseconds[count % len(milliseconds)] * 1e6)
        count += 1
        if log is not None:
            log.append(name)
        return frames[..., 0]

    return fake_model(function=function)


def images(count=3, size=(48, 64)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def benchmark(model, **options):
    (timing,) = benchmark_all([model], **options)
    return timing


def timing(samples, load=0.0, batch=1):
    return Timing(Description("fake", "fp32", "nothing", {}), "session", batch, "24x32", samples, load)


def test_every_sample_is_kept_and_the_warmup_is_not(fake_model, clock):
    model = timed(fake_model, clock, [50, 50, 50, 50, 10, 30])
    result = benchmark(model, boundary="session", frames=images(), seconds=0.1, min_n=2, warmup_seconds=0.2)
    assert result.samples_ms == [10, 30, 50, 50]
    assert (result.model, result.boundary, result.size) == (model.describe(), "session", "24x32")
    assert len(model.calls) == 8


def test_seconds_and_min_n_are_both_reached(fake_model, clock):
    def count(**limits):
        model = timed(fake_model, clock, [10])
        return len(benchmark(model, boundary="frame", frames=images(), warmup_seconds=0, **limits).samples_ms)

    assert count(seconds=0, min_n=7) == 7
    assert count(seconds=2, min_n=7) == 200


def test_models_take_turns(fake_model, clock):
    log = []
    models = [timed(fake_model, clock, [ms], log, name) for ms, name in [(10, "a"), (100, "b")]]
    first, second = benchmark_all(
        models, boundary="session", frames=images(), seconds=1, min_n=1, warmup_seconds=0
    )
    turns = [(name, len(list(calls))) for name, calls in groupby(log)]
    assert turns[:2] == [("a", 2), ("b", 2)]  # the warm-up
    assert turns[2:6] == [("a", 25), ("b", 3), ("a", 25), ("b", 3)]
    assert (len(first.samples_ms), len(second.samples_ms)) == (100, 12)
    assert (first.percentile(50), second.percentile(50)) == (10, 100)


def test_session_takes_ready_batches_and_frame_takes_decoded_images(fake_model, monkeypatch):
    resized = []
    monkeypatch.setattr(
        "kd_deploy.runtime.segment.cv2.resize",
        lambda image, size, interpolation: (
            resized.append(image.shape) or np.zeros((size[1], size[0], *image.shape[2:]), np.uint8)
        ),
    )

    def run(boundary):
        model = fake_model()
        resized.clear()
        result = benchmark(
            model, boundary=boundary, frames=images(5), batch=2, seconds=0, min_n=4, warmup_seconds=0
        )
        assert {call.shape for call in model.calls} == {(2, 24, 32, 3)}
        assert result.batch == 2
        return len(model.calls), len(resized)

    calls, count = run("session")
    assert (calls, count) == (6, 6)  # each of the three batches once, before the clock starts
    calls, count = run("frame")
    assert (calls, count) == (6, 6 * 2 * 2)  # each image there and its mask back, in every call


def test_percentiles_are_not_clipped():
    samples = [*range(1, 101), 1000]
    result = timing([float(ms) for ms in samples], batch=4).to_json()
    assert (result["p50_ms"], result["p90_ms"], result["p99_ms"]) == (51.0, 91.0, 100.0)
    assert (result["min_ms"], result["max_ms"], result["n"]) == (1.0, 1000.0, 101)
    assert result["fps"] == pytest.approx(4 * 1000 / 51)
    assert result["samples_ms"] == samples


def test_noise_is_said():
    quiet = [10.0] * 20
    assert timing(quiet).noise is None
    assert timing(quiet, load=None).noise is None
    assert timing([10.0] * 10 + [20.0] * 5).noise.startswith("noisy: p90 is 2.00 times p50")
    assert timing(quiet, load=0.9).noise.startswith("noisy: 0.90 processes per core")


def test_our_own_load_is_no_noise(fake_model, monkeypatch):
    module._load.cache_clear()
    loads = iter([[0.5, 0, 0], [9.0, 0, 0]])
    monkeypatch.setattr(module, "load_average", lambda: next(loads))
    monkeypatch.setattr(module, "cores", lambda: 2)
    options = {"boundary": "session", "frames": images(), "seconds": 0, "min_n": 1, "warmup_seconds": 0}
    assert [benchmark(fake_model(), **options).load for _ in range(2)] == [0.25, 0.25]
    module._load.cache_clear()


def test_json_has_what_benchmark_json_promises(fake_model):
    result = benchmark(fake_model(), boundary="frame", frames=images(), seconds=0, min_n=3, warmup_seconds=0)
    value = json.loads(json.dumps(to_json([result])))
    assert set(value) == {"results", "environment"}
    assert {
        "backend",
        "precision",
        "device",
        "versions",
        "boundary",
        "batch",
        "size",
        "n",
        "p50_ms",
        "p90_ms",
        "p99_ms",
        "fps",
        "min_ms",
        "max_ms",
        "samples_ms",
    } <= set(value["results"][0])
    assert value["results"][0]["n"] == 3
    assert "versions" in value["environment"]


def test_nothing_to_run_is_an_error(fake_model):
    with pytest.raises(UserError, match="none to benchmark"):
        benchmark(fake_model(), boundary="frame", frames=[])
    with pytest.raises(UserError, match="batch: 0"):
        benchmark(fake_model(), boundary="frame", frames=images(), batch=0)
