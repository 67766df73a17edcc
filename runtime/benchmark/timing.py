"""The latencies of one model at one boundary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from kd_deploy.runtime.benchmark.noise import noise
from kd_deploy.runtime.benchmark.tegrastats import Power
from kd_deploy.runtime.model import Description

Boundary = Literal["session", "frame", "video"]
"""`session`: a ready batch in, masks out. `frame`: decoded frames at their own size in, masks of it out.
`video`: a video file in, a video file with the overlay out."""


@dataclass(frozen=True)
class Timing:
    """Latencies of one model at one boundary.

    Attributes:
        model: what ran, and where.
        boundary: what one call took and gave.
        batch: frames per call.
        size: height and width that the model takes, "HxW".
        samples_ms: milliseconds of every timed call, in order; at the boundary `video`, from one finished frame to
            the next.
        load: processes per core in the minute before; None where the system does not say.
        device_ms: milliseconds on the GPU by its own events, for each call; empty where the backend has none.
        whole_seconds: at the boundary `video`, of all passes, opening and closing the files included.
        power: what a Jetson drew meanwhile; None elsewhere.
        frame_size: at the boundary `frame`, of the frames that came in, "HxW"; several with commas.
    """

    model: Description
    boundary: Boundary
    batch: int
    size: str
    samples_ms: list[float] = field(repr=False)
    load: float | None
    device_ms: list[float] = field(default_factory=list, repr=False)
    whole_seconds: float | None = None
    power: Power | None = None
    frame_size: str | None = None

    def percentile(self, percent: float) -> float:
        """Milliseconds below which `percent` of the samples lie (linear between samples, nothing clipped)."""
        return float(np.percentile(self.samples_ms, percent))

    @property
    def fps(self) -> float:
        """Frames per second: at the median latency, or of the whole passes over a video."""
        if self.whole_seconds is not None:
            return len(self.samples_ms) / self.whole_seconds
        return 1000 * self.batch / self.percentile(50)

    @property
    def spread(self) -> float:
        """p90 over p50."""
        return self.percentile(90) / self.percentile(50)

    @property
    def noise(self) -> str | None:
        """Why the numbers are not to be trusted, None if they are quiet.

        Frames leave a video's queues in bursts, so there only the load is judged.
        """
        return noise(None if self.boundary == "video" else self.spread, self.load)

    @property
    def energy_mj(self) -> float | None:
        """Millijoules for a frame: mean power over frames per second; None where no power was measured."""
        if self.power is None or self.power.total_mw is None:
            return None
        return self.power.total_mw / self.fps

    def to_json(self) -> dict[str, Any]:
        """One entry of benchmark.json."""
        return {
            **asdict(self.model),
            "boundary": self.boundary,
            "batch": self.batch,
            "size": self.size,
            "frame_size": self.frame_size,
            "n": len(self.samples_ms),
            "p50_ms": self.percentile(50),
            "p90_ms": self.percentile(90),
            "p99_ms": self.percentile(99),
            "min_ms": min(self.samples_ms),
            "max_ms": max(self.samples_ms),
            "fps": self.fps,
            "device_p50_ms": float(np.percentile(self.device_ms, 50)) if self.device_ms else None,
            "power": asdict(self.power) if self.power else None,
            "energy_mj": self.energy_mj,
            "spread": self.spread,
            "load": self.load,
            "noise": self.noise,
            "samples_ms": self.samples_ms,
            "device_ms": self.device_ms,
        }
