"""What is slower is called so."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from kd_deploy.export.speed import compare_speed
from kd_deploy.runtime.model import Description, Model


class Sleeper(Model):
    """Takes as long as it is told."""

    size = (4, 4)

    def __init__(self, precision: str, seconds: float) -> None:
        self.precision, self.seconds = precision, seconds

    def describe(self) -> Description:
        return Description("onnxruntime-cpu", self.precision, "a CPU", {})

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        time.sleep(self.seconds)
        return np.zeros(frames.shape[:3], np.uint8)

    def _close(self) -> None: ...


FRAMES = [np.zeros((4, 4, 3), np.uint8)]


def test_the_sentence() -> None:
    quick, slow = Sleeper("int8-cpu", 0.0), Sleeper("fp32", 0.01)
    better = compare_speed(slow, quick, FRAMES, seconds=0.01)
    assert better.faster
    assert better.sentence.startswith(
        f"int8-cpu takes {better.ratio:.2f} of the time of fp32 (onnxruntime-cpu on a CPU"
    )
    worse = compare_speed(quick, slow, FRAMES, seconds=0.01)
    assert not worse.faster
    assert worse.sentence.startswith(
        f"fp32 is not faster than int8-cpu here: it takes {worse.ratio:.2f} of its time"
    )
