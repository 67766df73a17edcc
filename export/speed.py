"""Is int8 faster than what it replaces? Asked of this machine, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.benchmark import benchmark_all
from kd_deploy.runtime.model import Model

NOT_FASTER = 0.95
"""Share of the other's time from which on a model is called not faster: what is less may be noise."""

_MIN_N = 20


@dataclass(frozen=True)
class Speed:
    """How long one model takes against another of the same network.

    Attributes:
        ratio: its median time over the other's.
        sentence: the same for a person, with where and how often it was measured.
    """

    ratio: float
    sentence: str

    @property
    def faster(self) -> bool:
        return self.ratio < NOT_FASTER


def compare_speed(
    base: Model, model: Model, frames: Sequence[NDArray[np.uint8]], *, seconds: float = 3.0
) -> Speed:
    """Time two open models in turns, tensors in and tensors out.

    Args:
        base: what `model` replaces.
        frames: (H, W, 3) uint8 BGR images, taken in turn.
        seconds: spent on each, at least, and at least 20 calls.
    """
    old, new = benchmark_all(
        [base, model], boundary="session", frames=frames, seconds=seconds, min_n=_MIN_N, warmup_seconds=0.5
    )
    ratio = new.percentile(50) / old.percentile(50)
    what, than = new.model.precision, old.model.precision
    verdict = (
        f"{what} takes {ratio:.2f} of the time of {than}"
        if ratio < NOT_FASTER
        else f"{what} is not faster than {than} here: it takes {ratio:.2f} of its time"
    )
    noise = new.noise or old.noise
    where = f"{new.model.backend} on {new.model.device}, medians of {len(new.samples_ms)} calls in turns"
    return Speed(ratio, f"{verdict} ({where}{f'; {noise}' if noise else ''})")
