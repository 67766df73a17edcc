"""Models in turns: what is counted, and that nobody is favoured."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest

from kd_deploy.runtime.benchmark import benchmark_all, noise
from kd_deploy.runtime.benchmark.timing import Timing
from kd_deploy.runtime.errors import UserError


def benchmark(model: Any, **options: Any) -> Timing:
    (timing,) = benchmark_all([model], **options)
    return timing


def test_every_sample_is_kept_and_the_warmup_is_not(clock: Any, images: Any) -> None:
    model = clock.model([50, 50, 50, 50, 10, 30])
    result = benchmark(model, boundary="session", frames=images(), seconds=0.1, min_n=2, warmup_seconds=0.2)
    assert result.samples_ms == [10, 30, 50, 50]
    assert (result.model, result.boundary, result.size) == (model.describe(), "session", "24x32")
    assert len(model.calls) == 8


def test_seconds_and_min_n_are_both_reached(clock: Any, images: Any) -> None:
    def count(**limits: Any) -> int:
        timing = benchmark(clock.model([10]), boundary="frame", frames=images(), warmup_seconds=0, **limits)
        return len(timing.samples_ms)

    assert count(seconds=0, min_n=7) == 7
    assert count(seconds=2, min_n=7) == 200


def test_models_take_turns(clock: Any, images: Any) -> None:
    log: list[str] = []
    models = [clock.model([ms], log, name) for ms, name in [(10, "a"), (100, "b")]]
    told: list[float] = []
    first, second = benchmark_all(
        models,
        boundary="session",
        frames=images(),
        seconds=1,
        min_n=1,
        warmup_seconds=0,
        progress=told.append,
    )
    turns = [(name, len(list(calls))) for name, calls in groupby(log)]
    assert turns[:2] == [("a", 2), ("b", 2)]  # the warm-up
    assert turns[2:6] == [("a", 25), ("b", 3), ("a", 25), ("b", 3)]
    assert (len(first.samples_ms), len(second.samples_ms)) == (100, 12)
    assert (first.percentile(50), second.percentile(50)) == (10, 100)
    assert told == sorted(told)
    assert told[0] == pytest.approx((0.25 + 0.3) / 2)
    assert told[-1] == 1


def test_session_takes_ready_batches_and_frame_takes_decoded_images(
    fake_model: Any, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized = []

    def resize(image: Any, size: Any, interpolation: Any) -> Any:
        resized.append(image.shape)
        return np.zeros((size[1], size[0], *image.shape[2:]), np.uint8)

    monkeypatch.setattr("kd_deploy.runtime.segment.cv2.resize", resize)

    def run(boundary: Any) -> tuple[int, int]:
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


def test_the_size_of_the_frames_is_the_boundarys_own(fake_model: Any, images: Any) -> None:
    def sizes(boundary: Any) -> tuple[str, str | None]:
        frames = [*images(2), *images(1, (50, 60))]
        timing = benchmark(
            fake_model(), boundary=boundary, frames=frames, seconds=0, min_n=1, warmup_seconds=0
        )
        return timing.size, timing.frame_size

    assert sizes("frame") == ("24x32", "48x64, 50x60")
    assert sizes("session") == ("24x32", None)


def test_our_own_load_is_no_noise(fake_model: Any, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noise.load_before.cache_clear()
    loads = iter([[0.5, 0, 0], [9.0, 0, 0]])
    monkeypatch.setattr(noise, "load_average", lambda: next(loads))
    monkeypatch.setattr(noise, "cores", lambda: 2)
    options = {"boundary": "session", "frames": images(), "seconds": 0, "min_n": 1, "warmup_seconds": 0}
    assert [benchmark(fake_model(), **options).load for _ in range(2)] == [0.25, 0.25]
    noise.load_before.cache_clear()


@pytest.mark.parametrize("boundary", ["session", "frame"])
def test_a_batch_that_memory_does_not_hold_is_one_line(fake_model: Any, boundary: Any) -> None:
    endless = np.broadcast_to(np.zeros(3, np.uint8), (1 << 24, 1 << 24, 3))
    model = fake_model(size=(1 << 24, 1 << 24))
    with pytest.raises(UserError, match=r"^fake fp32: cannot run a batch of 3 \(Unable to allocate"):
        benchmark(model, boundary=boundary, frames=[endless], batch=3, seconds=0)


def test_a_device_is_asked_at_the_session_alone(fake_model: Any, images: Any) -> None:
    class OnDevice(fake_model):  # type: ignore[misc]  # a fixture's class
        def _run(self, frames: Any) -> Any:
            self.device_ms = 1.5 if self.timed else None
            return super()._run(frames)

    options = {"frames": images(), "seconds": 0, "min_n": 3, "warmup_seconds": 0}
    model = OnDevice()
    session = benchmark(model, boundary="session", **options)
    assert not model.timed
    assert session.device_ms == [1.5] * 3
    assert session.to_json()["device_p50_ms"] == 1.5
    assert benchmark(model, boundary="frame", **options).to_json()["device_p50_ms"] is None


def test_nothing_to_run_is_an_error(fake_model: Any, images: Any) -> None:
    with pytest.raises(UserError, match="none to benchmark"):
        benchmark(fake_model(), boundary="frame", frames=[])
    with pytest.raises(UserError, match="batch: 0"):
        benchmark(fake_model(), boundary="frame", frames=images(), batch=0)
