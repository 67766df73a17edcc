"""Ranges by three methods, and the histograms they come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kd_deploy.export.calibrate import METHODS, Histogram, histograms

BINS = 2048


def histogram(values: np.ndarray) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    counts, _ = np.histogram(np.abs(values), BINS, (0, max(-low, high)))
    return Histogram(low, high, counts)


def test_a_few_far_values_are_clipped_by_percentile_and_entropy_alone() -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    values[:5] = 100.0
    ranges = {method: histogram(values).range(method) for method in METHODS}
    assert ranges["minmax"] == (np.float32(values.min()), np.float32(100))
    assert 3 < ranges["percentile"][1] < 6
    assert ranges["entropy"][1] < 20
    for low, high in ranges.values():
        assert low >= np.float32(values.min())
        assert low < 0 < high


@pytest.mark.parametrize("method", METHODS)
def test_even_values_are_kept(method: str) -> None:
    low, high = histogram(np.linspace(0, 6, 100_000)).range(method)  # type: ignore[arg-type]
    assert low == 0
    assert high == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_zero(method: str) -> None:
    counts = np.zeros(BINS, np.int64)
    counts[0] = 10
    assert Histogram(0.0, 0.0, counts).range(method) == (0, 0)  # type: ignore[arg-type]


def test_histograms_are_numpys() -> None:
    nodes = [
        helper.make_node("Cast", ["frame"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["x", "c"], ["shifted"]),
        helper.make_node("Cast", ["shifted"], ["mask"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "shift",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor("c", TensorProto.FLOAT, [], [100.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    frames = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(3)]
    calls: list[None] = []
    found = histograms(
        onnx.shape_inference.infer_shapes(model), ["shifted"], frames, lambda: calls.append(None)
    )
    values = np.stack(frames).astype(np.float32) - 100
    assert len(calls) == 2 * len(frames)
    assert (found["shifted"].low, found["shifted"].high) == (values.min(), values.max())
    expected, _ = np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))
    assert found["shifted"].counts.sum() == values.size
    assert (
        np.abs(found["shifted"].counts - expected).sum() <= 0.02 * values.size
    )  # rounding at the bins' edges
