"""The ranges of a graph's tensors over calibration frames, by three methods from one histogram."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

PERCENT = 99.99
"""Percentage of the magnitudes that `percentile` keeps."""

_BINS = 2048
_LEVELS = 128  # magnitudes of an int8
_STRIDE = 16  # bins between the thresholds that `entropy` tries


@dataclass(frozen=True)
class Histogram:
    """What one tensor held over all frames.

    Attributes:
        low: its least value, at most 0: zero must be one of the levels, padding is made of it.
        high: its greatest value, at least 0.
        counts: (2048,) int64 magnitudes in equal bins from 0 to the greatest.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    def range(self, method: Method) -> tuple[np.float32, np.float32]:
        """The values between which the levels are spread; what lies outside is clipped.

        `minmax` clips nothing, `percentile` keeps 99.99 % of the magnitudes, `entropy` takes the threshold whose
        128 levels have the least KL divergence from the histogram (Migacz, "8-bit Inference with TensorRT", GTC
        2017, S7310).
        """
        edge = max(-self.low, self.high)
        if method == "percentile":
            share = np.cumsum(self.counts) / max(1, self.counts.sum())
            edge *= (int(np.searchsorted(share, PERCENT / 100)) + 1) / _BINS
        elif method == "entropy":
            edge *= _least_divergent(self.counts) / _BINS
        return np.float32(max(self.low, -edge)), np.float32(min(self.high, edge))


def histograms(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    frames: Sequence[Image],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Histogram]:
    """Run `frames` twice, for the extremes and then for the counts, with one frame's tensors in memory at a time.

    Args:
        model: a graph with the input `frame`, (N, H, W, 3) uint8.
        tensors: names of float32 tensors inside of it.
        frames: (H, W, 3) uint8 BGR, of the graph's size.
        advance: called after each frame of each pass, 2 * len(frames) times.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    session = open_session(probe)

    def values() -> Iterable[Mapping[str, NDArray[np.float32]]]:
        for frame in frames:
            yield dict(zip(tensors, run(session, tensors, frame), strict=True))
            advance()

    low, high = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for found in values():
        low = {name: min(low[name], float(value.min())) for name, value in found.items()}
        high = {name: max(high[name], float(value.max())) for name, value in found.items()}
    counts = {name: np.zeros(_BINS, np.int64) for name in tensors}
    for found in values():
        for name, value in found.items():
            counts[name] += _count(value, max(-low[name], high[name]))
    return {name: Histogram(low[name], high[name], counts[name]) for name in tensors}


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, silent: what it raises says all that it would print."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, tensors: Sequence[str], frame: Image) -> list[NDArray[Any]]:
    """The `tensors` of one frame, (H, W, 3); a graph with a fixed batch gets it that many times."""
    batch = session.get_inputs()[0].shape[0]
    frames = np.repeat(frame[None], batch if isinstance(batch, int) else 1, axis=0)
    values: list[NDArray[Any]] = session.run(list(tensors), {"frame": frames})
    return values


def _count(value: NDArray[np.float32], edge: float) -> NDArray[np.int64]:
    upper = float(np.nextafter(np.float32(edge), np.float32(np.inf)))  # OpenCV leaves the upper end out
    counts = cv2.calcHist([np.abs(value).reshape(-1, 1)], [0], None, [_BINS], [0.0, upper])
    exact: NDArray[np.int64] = counts.ravel().astype(np.int64)
    return exact


def _least_divergent(counts: NDArray[np.int64]) -> int:
    """How many of the bins the best threshold keeps."""
    # Zeros of a ReLU would outweigh all else, and zero has a level at any threshold.
    magnitudes = np.concatenate((counts[1:2], counts[1:])).astype(np.float64)
    if not magnitudes.any():
        return _BINS
    candidates = range(_LEVELS, _BINS + 1, _STRIDE)
    return min(candidates, key=lambda kept: _divergence(magnitudes, kept))


def _divergence(counts: NDArray[np.float64], kept: int) -> float:
    """KL divergence of the clipped histogram from itself at 128 levels."""
    inside = counts[:kept]
    clipped = inside.copy()
    clipped[-1] += counts[kept:].sum()
    edges = np.linspace(0, kept, _LEVELS + 1).astype(int)
    filled = inside > 0
    sums, bins = np.add.reduceat(inside, edges[:-1]), np.add.reduceat(filled.astype(np.float64), edges[:-1])
    level = np.repeat(sums / np.maximum(bins, 1), np.diff(edges)) * filled
    there = clipped > 0
    p = clipped[there] / clipped.sum()
    q = np.maximum(level[there] / max(level.sum(), 1e-12), 1e-9)
    return float(np.sum(p * np.log(p / q)))
