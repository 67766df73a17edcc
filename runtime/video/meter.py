"""How fast frames go through: the frame rate of now, and latencies of all in constant memory."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

import numpy as np

_STEP = 1.01
_SHORTEST = 1e-5
_BINS = 1600
"""From 10 microseconds to over a minute in steps of 1 %."""


class Meter:
    """Counts frames as they are done.

    Attributes:
        frames: how many were counted.
    """

    def __init__(self, window: int = 60) -> None:
        self.frames = 0
        self._counts = np.zeros(_BINS, np.int64)
        self._latest: deque[float] = deque(maxlen=window)
        self._done: deque[float] = deque(maxlen=window)

    def add(self, decoded_at: float, now: float) -> None:
        """A frame that was decoded at one time is done at the other (seconds of one clock)."""
        latency = max(now - decoded_at, _SHORTEST)
        self.frames += 1
        self._counts[min(_BINS - 1, int(math.log(latency / _SHORTEST, _STEP)))] += 1
        self._latest.append(latency)
        self._done.append(now)

    @property
    def fps(self) -> float:
        """Frames a second over the last ones; 0 before the second."""
        span = self._done[-1] - self._done[0] if len(self._done) > 1 else 0.0
        return (len(self._done) - 1) / span if span > 0 else 0.0

    @property
    def latest_ms(self) -> float:
        """The median latency of the last frames in milliseconds."""
        return median(self._latest) * 1000 if self._latest else 0.0

    def latency_ms(self, percent: float) -> float | None:
        """A percentile of all latencies in milliseconds, within 1 %; None without frames."""
        if not self.frames:
            return None
        place = int(np.searchsorted(self._counts.cumsum(), percent / 100 * self.frames))
        return float(_SHORTEST * _STEP ** (place + 0.5) * 1000)
