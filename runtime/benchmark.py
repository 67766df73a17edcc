"""Time models side by side, with every sample kept and the boundary named."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from itertools import cycle, islice
from typing import Any, Literal

import numpy as np

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cores, environment, load_average
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.segment import Image, segment_batch, to_size

Boundary = Literal["session", "frame"]
"""`session`: a ready batch in, masks out. `frame`: decoded frames at their own size in, masks of it out."""

NOISY_SPREAD = 1.25
"""p90 over p50 above which a timing is called noisy."""
NOISY_LOAD = 0.5
"""Processes per core, running or waiting in the minute before, above which a timing is called noisy."""

_BLOCK_SECONDS = 0.25  # one model's turn before the next one's
_BATCHES = 8  # different batches that are taken in turn


@dataclass(frozen=True)
class Timing:
    """Latencies of one model at one boundary.

    Attributes:
        model: what ran, and where.
        boundary: `session` or `frame`.
        batch: frames per call.
        size: height and width that the model takes, "HxW".
        samples_ms: milliseconds of every timed call, in order.
        load: processes per core in the minute before; None where the system does not say.
    """

    model: Description
    boundary: Boundary
    batch: int
    size: str
    samples_ms: list[float] = field(repr=False)
    load: float | None

    def percentile(self, percent: float) -> float:
        """Milliseconds below which `percent` of the samples lie (linear between samples, nothing clipped)."""
        return float(np.percentile(self.samples_ms, percent))

    @property
    def fps(self) -> float:
        """Frames per second at the median latency."""
        return 1000 * self.batch / self.percentile(50)

    @property
    def noise(self) -> str | None:
        """Why the numbers are not to be trusted, None if they are quiet."""
        spread = self.percentile(90) / self.percentile(50)
        if spread > NOISY_SPREAD:
            return f"noisy: p90 is {spread:.2f} times p50; stop other programs and fix the clocks"
        if self.load is not None and self.load > NOISY_LOAD:
            return f"noisy: {self.load:.2f} processes per core just before; stop other programs or wait"
        return None

    def to_json(self) -> dict[str, Any]:
        """One entry of benchmark.json."""
        return {
            **asdict(self.model),
            "boundary": self.boundary,
            "batch": self.batch,
            "size": self.size,
            "n": len(self.samples_ms),
            "p50_ms": self.percentile(50),
            "p90_ms": self.percentile(90),
            "p99_ms": self.percentile(99),
            "min_ms": min(self.samples_ms),
            "max_ms": max(self.samples_ms),
            "fps": self.fps,
            "noise": self.noise,
            "samples_ms": self.samples_ms,
        }


def benchmark_bundle(
    bundle: Bundle,
    models: Sequence[Model],
    *,
    boundaries: Sequence[Boundary] = ("session", "frame"),
    batch: int = 1,
    seconds: float = 5.0,
) -> dict[str, Any]:
    """Time open models of a bundle on its golden frames; the result, `to_json`'s, is kept in its benchmark.json.

    Raises:
        UserError: as `benchmark_all`.
    """
    frames = [frame for _, frame, _ in bundle.golden()]
    result = to_json(
        [
            timing
            for boundary in boundaries
            for timing in benchmark_all(
                models, boundary=boundary, frames=frames, batch=batch, seconds=seconds
            )
        ]
    )
    bundle.keep("benchmark.json", result)
    return result


def benchmark_all(
    models: Sequence[Model],
    *,
    boundary: Boundary,
    frames: Sequence[Image],
    batch: int = 1,
    seconds: float = 5.0,
    min_n: int = 50,
    warmup_seconds: float = 1.0,
) -> list[Timing]:
    """Time several models in turns, so that whatever else the machine does harms all alike.

    Args:
        models: open models.
        boundary: what one call takes and gives.
        frames: decoded images, (H, W, 3) uint8 BGR, at their own size; taken in turn.
        batch: frames per call.
        seconds: time spent on each model, at least.
        min_n: calls of each model, at least.
        warmup_seconds: time spent on each model first, not counted; at least two calls.

    Returns:
        A timing per model, in their order.

    Raises:
        UserError: there are no frames, or a model does not take the batch.
    """
    if not frames:
        raise UserError("frames: there are none to benchmark with; name an image or a folder that has some")
    if batch < 1:
        raise UserError(f"batch: {batch} frames cannot be run; give 1 or more")
    load = _load()
    clocks = [_Clock(_calls(model, boundary, frames, batch)) for model in models]
    for clock in clocks:
        clock.run(warmup_seconds, 2)
        clock.samples_ms.clear()
    while waiting := [clock for clock in clocks if not clock.done(seconds, min_n)]:
        for clock in waiting:
            clock.run(min(_BLOCK_SECONDS, seconds), 1)
    return [
        Timing(
            model.describe(),
            boundary,
            batch,
            "x".join(map(str, _size(model, frames))),
            clock.samples_ms,
            load,
        )
        for model, clock in zip(models, clocks, strict=True)
    ]


def to_json(timings: Sequence[Timing]) -> dict[str, Any]:
    """The content of benchmark.json: {"results": [...], "environment": {...}}."""
    return {"results": [timing.to_json() for timing in timings], "environment": environment()}


class _Clock:
    """One model's calls, timed one by one."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self._calls = cycle(calls)
        self.samples_ms: list[float] = []

    def run(self, seconds: float, calls: int) -> None:
        """Call for at least `seconds` and at least `calls` times."""
        first = time.perf_counter_ns()
        for done, call in enumerate(self._calls, start=1):
            start = time.perf_counter_ns()
            call()
            end = time.perf_counter_ns()
            self.samples_ms.append((end - start) / 1e6)
            if done >= calls and end - first >= seconds * 1e9:
                return

    def done(self, seconds: float, min_n: int) -> bool:
        return len(self.samples_ms) >= max(1, min_n) and sum(self.samples_ms) >= seconds * 1e3


def _calls(
    model: Model, boundary: Boundary, frames: Sequence[Image], batch: int
) -> list[Callable[[], object]]:
    """A few calls with different frames, so that no cache sees the same batch each time."""
    endless = cycle(frames)
    batches = [list(islice(endless, batch)) for _ in range(min(_BATCHES, -(-len(frames) // batch)))]
    if boundary == "frame":
        return [partial(segment_batch, model, images) for images in batches]
    size = _size(model, frames)
    stacks = [np.stack([to_size(image, size) for image in images]) for images in batches]
    return [partial(model.run, stack) for stack in stacks]


def _size(model: Model, frames: Sequence[Image]) -> tuple[int, int]:
    """The model's size, or the first frame's for a model that takes any."""
    height, width = model.size or frames[0].shape[:2]
    return height, width


@cache
def _load() -> float | None:
    """Processes per core before this process's first benchmark, whose own work is no noise to the next."""
    averages = load_average()
    return None if averages is None else averages[0] / cores()
