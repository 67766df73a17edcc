"""Several models take turns, so that whatever else the machine does harms all alike."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice

import numpy as np

from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.benchmark.tegrastats import Span, Watch, watch
from kd_deploy.runtime.benchmark.timing import Boundary, Timing
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import Image, segment_batch, to_size

MIN_N = 50
"""Calls of each model, at least."""
WARMUP_SECONDS = 1.0
"""Time spent on each model first, not counted."""

Progress = Callable[[float], object]
"""Called between turns, when nothing is timed, with the share that is done, 0 to 1."""

_TURN_SECONDS = 0.25  # of one model before the next one's
_BATCHES = 8  # different batches that are taken in turn


def benchmark_all(
    models: Sequence[Model],
    *,
    boundary: Boundary,
    frames: Sequence[Image],
    batch: int = 1,
    seconds: float = 5.0,
    min_n: int = MIN_N,
    warmup_seconds: float = WARMUP_SECONDS,
    progress: Progress | None = None,
) -> list[Timing]:
    """Time several models at the boundary `session` or `frame` (see `benchmark_video` for the third).

    Args:
        models: open models.
        boundary: what one call takes and gives.
        frames: decoded images, (H, W, 3) uint8 BGR, at their own size; taken in turn.
        batch: frames per call.
        seconds: time spent on each model, at least.
        min_n: calls of each model, at least.
        warmup_seconds: time spent on each model first, not counted; at least two calls.
        progress: told how far it is.

    Returns:
        A timing per model, in their order.

    Raises:
        UserError: there are no frames, or a model does not take the batch.
    """
    check_frames(frames)
    if batch < 1:
        raise UserError(f"batch: {batch} frames cannot be run; give 1 or more")
    load = load_before()
    on_device = boundary == "session"
    watches = [Calls(model, calls_of(model, boundary, frames, batch), on_device) for model in models]
    power = take_turns(watches, seconds, min_n, warmup_seconds, progress)
    return [
        Timing(
            watched.model.describe(),
            boundary,
            batch,
            "x".join(map(str, size_of(watched.model, frames))),
            watched.samples_ms,
            load,
            watched.device_ms,
            power=power.during(watched.turns),
            frame_size=sizes_of(frames) if boundary == "frame" else None,
        )
        for watched in watches
    ]


class Stopwatch(ABC):
    """One model's work, timed.

    Attributes:
        samples_ms: milliseconds of every call.
        turns: when it was this model's turn.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.samples_ms: list[float] = []
        self.turns: list[Span] = []

    @abstractmethod
    def warm_up(self, seconds: float) -> None:
        """Run for at least `seconds` and two calls; nothing of it is kept."""

    @abstractmethod
    def run(self, seconds: float) -> None:
        """Run for at least `seconds` and one call, and keep the samples."""

    def take_turn(self, seconds: float) -> None:
        begin = time.perf_counter_ns()
        self.run(seconds)
        self.turns.append((begin, time.perf_counter_ns()))

    def share(self, seconds: float, min_n: int) -> float:
        """How much of `seconds` and of `min_n` calls is done, the lesser of the two; 1: all."""
        calls = len(self.samples_ms) / max(1, min_n)
        time_spent = sum(self.samples_ms) / (seconds * 1e3) if seconds else 1.0
        return min(1.0, calls, time_spent)


def take_turns(
    watches: Sequence[Stopwatch],
    seconds: float,
    min_n: int,
    warmup_seconds: float,
    progress: Progress | None,
) -> Watch:
    """Let every stopwatch reach `seconds` and `min_n` calls; returns what tegrastats said meanwhile."""
    tell = progress or (lambda share: None)
    for watched in watches:
        watched.warm_up(warmup_seconds)
    with watch() as power:
        shares = dict.fromkeys(watches, 0.0)
        while waiting := [watched for watched, share in shares.items() if share < 1]:
            for watched in waiting:
                watched.take_turn(min(_TURN_SECONDS, seconds))
                shares[watched] = watched.share(seconds, min_n)
            tell(sum(shares.values()) / len(shares))
    return power


class Calls(Stopwatch):
    """Calls timed one by one; with `on_device` also by the GPU, where the backend can ask it, into `device_ms`."""

    def __init__(self, model: Model, calls: Sequence[Callable[[], object]], on_device: bool = False) -> None:
        super().__init__(model)
        self.device_ms: list[float] = []
        self._on_device = on_device
        self._calls = cycle(calls)

    def warm_up(self, seconds: float) -> None:
        self._run(seconds, 2)
        self.samples_ms.clear()
        self.device_ms.clear()

    def run(self, seconds: float) -> None:
        self._run(seconds, 1)

    def _run(self, seconds: float, calls: int) -> None:
        self.model.timed = self._on_device
        try:
            first = time.perf_counter_ns()
            for done, call in enumerate(self._calls, start=1):
                start = time.perf_counter_ns()
                call()
                end = time.perf_counter_ns()
                self.samples_ms.append((end - start) / 1e6)
                if self.model.device_ms is not None:
                    self.device_ms.append(self.model.device_ms)
                if done >= calls and end - first >= seconds * 1e9:
                    return
        finally:
            self.model.timed = False


def calls_of(
    model: Model, boundary: Boundary, frames: Sequence[Image], batch: int
) -> list[Callable[[], object]]:
    """A few calls with different frames, so that no cache sees the same batch each time."""
    endless = cycle(frames)
    batches = [list(islice(endless, batch)) for _ in range(min(_BATCHES, -(-len(frames) // batch)))]
    if boundary == "frame":
        return [partial(segment_batch, model, images) for images in batches]
    size = size_of(model, frames)
    with model.guarded(batch):
        stacks = [np.stack([to_size(image, size) for image in images]) for images in batches]
    return [partial(model.run, stack) for stack in stacks]


def size_of(model: Model, frames: Sequence[Image]) -> tuple[int, int]:
    """The model's size, or the first frame's for a model that takes any."""
    height, width = model.size or frames[0].shape[:2]
    return height, width


def sizes_of(frames: Sequence[Image]) -> str:
    """Every size that there is among them, such as "720x1280"."""
    return ", ".join(dict.fromkeys("x".join(map(str, frame.shape[:2])) for frame in frames))


def check_frames(frames: Sequence[Image]) -> None:
    """Raise a UserError unless there are some."""
    if not frames:
        raise UserError("frames: there are none to benchmark with; name an image or a folder that has some")
