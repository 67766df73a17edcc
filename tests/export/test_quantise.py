"""int8: zero points, scales, ends and facts of the written graph, what is left in float, and what is refused."""

from __future__ import annotations

import json
import logging
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kd_deploy.export.calibrate import histograms
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.onnx_graph import Ends, write_onnx
from kd_deploy.export.qdq import Target, calibrated, groups, insert, read
from kd_deploy.export.quantise import MIN_FRAMES, Quantised, quantise
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from tests.conftest import draw

SIZE = (96, 128)
CLASSES = 7
FACTS = {"classes": [f"class {i}" for i in range(CLASSES)], "precision": "fp32"}
OWN = {"precision": "int8"}
WEIGHTED = {"Conv", "Gemm", "MatMul"}
LOW = 50.0
"""Percent of agreement that every method reaches on networks whose weights are random."""


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    drawn = [draw(seed, SIZE) for seed in range(MIN_FRAMES)]
    return [
        Frame("drawn", image, np.where(mask < CLASSES, mask, 255).astype(np.uint8)) for image, mask in drawn
    ]


@pytest.fixture(scope="module")
def source(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("float") / "model.fp32.onnx"
    write_onnx(DeployedGraph(segmenter.folded()), Ends(SIZE), file, FACTS)
    return file


@pytest.fixture(scope="module", params=["tensorrt", "cpu"])
def target(request: pytest.FixtureRequest) -> Target:
    chosen: Target = request.param
    return chosen


@pytest.fixture(scope="module")
def written(
    source: Path, target: Target, frames: list[Frame], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Quantised, Path]:
    """Read only: both students for both targets."""
    file = tmp_path_factory.mktemp("int8") / "model.onnx"
    return quantise(source, file, target, frames, facts=OWN, min_agreement=LOW, silent=True), file


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three convolutions; of what the second takes, one channel is ten thousand times the others."""
    rng = np.random.default_rng(0)
    outlier = np.ones(16, np.float32)
    outlier[3] = 1e4
    weights = {
        "first.weight": rng.normal(0, 1e-3, (16, 3, 3, 3)),
        "outlier": outlier.reshape(16, 1, 1),
        "second.weight": rng.normal(0, 0.3, (16, 16, 1, 1)) / outlier[:, None, None],
        "third.weight": rng.normal(0, 0.3, (CLASSES, 16, 1, 1)),
    }
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "first.weight"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "outlier"], ["c"]),
        helper.make_node("Conv", ["c", "second.weight"], ["d"], "second"),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "third.weight"], ["f"], "third"),
        helper.make_node("ArgMax", ["f"], ["g"], axis=1, keepdims=0),
        helper.make_node("Cast", ["g"], ["mask"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, ["batch", *SIZE, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch", *SIZE])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    file = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def run(file: Path, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    masks: NDArray[np.uint8] = session.run(["mask"], {"frame": batch})[0]
    return masks


class Graph:
    """A graph to be asked about."""

    def __init__(self, file: Path) -> None:
        self.nodes = list(onnx.load(file).graph.node)
        self.values = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
        self.maker = {output: node for node in self.nodes for output in node.output}

    def of(self, *kinds: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type in kinds]

    def behind(self, tensor: str, kind: str) -> bool:
        return tensor in self.maker and self.maker[tensor].op_type == kind


def test_ends_facts_and_opset_are_those_of_float32(source: Path, written: tuple[Quantised, Path]) -> None:
    before, after = onnx.load(source), onnx.load(written[1])
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert {p.key: json.loads(p.value) for p in after.metadata_props} == FACTS | OWN
    assert [(o.domain, o.version) for o in after.opset_import] == [("", 18)]
    # The frame is normalised in float: the first scale is that of a few deviations, not that of 255.
    graph = Graph(written[1])
    first = next(node for node in graph.of("Conv"))
    quantiser = graph.maker[graph.maker[first.input[0]].input[0]]
    assert 0.001 < graph.values[quantiser.input[1]] < 0.1
    # And what stands behind the upsampling is float.
    (argmax,) = graph.of("ArgMax")
    assert graph.maker[argmax.input[0]].op_type in ("Slice", "Resize", "Transpose")


@pytest.mark.parametrize("batch", [1, 3])
def test_masks_at_any_batch(
    source: Path, written: tuple[Quantised, Path], frames: list[Frame], batch: int
) -> None:
    images = np.stack([frame.image for frame in frames[:batch]])
    expected, masks = run(source, images), run(written[1], images)
    assert masks.dtype == np.uint8
    assert masks.shape == (batch, *SIZE)
    assert (masks == expected).mean() > LOW / 100
    assert len(np.unique(masks)) > 1


@pytest.mark.parametrize("target", ["tensorrt"], indirect=True, scope="module")
def test_for_tensorrt_all_is_symmetric_and_weights_are_per_channel(
    source: Path, written: tuple[Quantised, Path], target: Target
) -> None:
    graph = Graph(written[1])
    pairs = graph.of("QuantizeLinear", "DequantizeLinear")
    zeros = [graph.values[node.input[2]] for node in pairs]
    assert {zero.dtype.name for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)
    quantised = [node for node in graph.of(*WEIGHTED) if graph.behind(node.input[1], "DequantizeLinear")]
    layers = sum(map(len, groups(read(source), target).values()))
    assert written[0].left == {}
    assert len(quantised) == written[0].quantised == layers > 60
    for node in quantised:
        assert graph.behind(node.input[0], "DequantizeLinear")
        weight = graph.maker[node.input[1]]
        axis = 0 if node.op_type == "Conv" else 1
        assert [a.i for a in weight.attribute if a.name == "axis"] == [axis]
        assert graph.values[weight.input[1]].shape == (graph.values[weight.input[0]].shape[axis],)
        assert all(graph.values[bias].dtype == np.float32 for bias in node.input[2:])
    # Between a layer and its activation there is nothing.
    assert not any(graph.behind(node.input[0], "DequantizeLinear") for node in graph.of("Relu", "Clip"))


@pytest.mark.parametrize("target", ["cpu"], indirect=True, scope="module")
def test_for_the_cpu_convolutions_are_unsigned_and_matrices_dynamic(
    source: Path, written: tuple[Quantised, Path], target: Target
) -> None:
    graph = Graph(written[1])
    convs = graph.of("Conv")
    assert {graph.values[node.input[2]].dtype.name for node in graph.of("QuantizeLinear")} == {"uint8"}
    assert all(graph.behind(tensor, "DequantizeLinear") for node in convs for tensor in node.input)
    scales = [graph.values[graph.maker[node.input[1]].input[1]] for node in convs]
    weights = [graph.values[graph.maker[node.input[1]].input[0]] for node in convs]
    assert [scale.shape for scale in scales] == [weight.shape[:1] for weight in weights]
    assert {weight.dtype.name for weight in weights} == {"int8"}
    layers = groups(read(source), target)
    assert len(convs) + len(graph.of("MatMulInteger")) == sum(map(len, layers.values()))


def test_weights_of_7_bits_leave_room_for_a_sum_of_two_products(source: Path, frames: list[Frame]) -> None:
    """255 * 64 twice is less than 2^15; 255 * 127 twice is not, and processors without VNNI cut it off."""
    model = read(source)
    chosen = [name for group in groups(model, "cpu").values() for name in group]
    found = histograms(model, calibrated(model, "cpu"), [frames[0].image], lambda: None)
    ranges = {name: histogram.range("minmax") for name, histogram in found.items()}
    for bits, largest in ((8, 127), (7, 64)):
        graph = insert(model, "cpu", chosen, ranges, bits)
        values = [numpy_helper.to_array(t) for t in graph.graph.initializer if t.name.endswith("_quantized")]
        weights = [value for value in values if value.dtype == np.int8 and value.ndim > 1]
        assert len(weights) == len(chosen)
        assert max(abs(weight.astype(int)).max() for weight in weights) == largest


def test_what_it_says(source: Path, written: tuple[Quantised, Path], target: Target) -> None:
    result, file = written
    assert (result.target, result.calibration_frames, result.held_out_frames) == (target, 6, 2)
    ways = {(step.method, step.weight_bits) for step in result.steps}
    assert ways == {*product(("minmax", "percentile", "entropy"), (8, 7) if target == "cpu" else (8,))}
    assert (result.method, result.weight_bits) == (result.steps[-1].method, result.steps[-1].weight_bits)
    assert result.agreement == max(step.agreement for step in result.steps)
    assert result.float_miou is not None
    assert all(step.miou is not None for step in result.steps)
    assert json.loads(json.dumps(result.to_json()))["agreement"] == result.agreement
    assert file.stat().st_size < 0.5 * source.stat().st_size


def test_layers_are_grouped_by_module(source: Path, target: Target) -> None:
    layers = groups(read(source), target)
    assert 8 <= len(layers) <= 40
    assert list(layers)[-1] == "segmentation_head.0"
    assert all(name.startswith(("encoder.", "decoder", "segmentation_head")) for name in layers)


def test_a_layer_that_int8_harms_stays_in_float(
    small: Path, frames: list[Frame], tmp_path: Path, target: Target
) -> None:
    file = tmp_path / "int8.onnx"
    result = quantise(small, file, target, frames, min_agreement=90, silent=True)
    assert result.left == {"second": 1}
    assert result.quantised == 2
    *_, before, after = result.steps
    assert (before.left, after.left) == ((), ("second",))
    assert before.agreement < 90 <= after.agreement == result.agreement
    assert after.miou is None  # the file does not name its classes
    graph = Graph(file)
    kept = next(node for node in graph.of("Conv") if node.name == "second")
    assert graph.values[kept.input[1]].dtype == np.float32
    image = frames[0].image[None]
    assert (run(file, image) == run(small, image)).mean() > 0.9


def test_a_batch_that_is_fixed(small: Path, frames: list[Frame], tmp_path: Path, target: Target) -> None:
    model = onnx.load(small)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    quantise(tmp_path / "two.onnx", tmp_path / "int8.onnx", target, frames, min_agreement=LOW, silent=True)
    images = np.stack([frame.image for frame in frames[:2]])
    agreement = (run(tmp_path / "int8.onnx", images) == run(small, images)).mean()
    assert agreement > LOW / 100


def test_a_network_that_int8_does_not_serve(small: Path, frames: list[Frame], tmp_path: Path) -> None:
    message = "int8: does not serve this network on tensorrt: .* with 2 of 3 groups .* 101 % are required"
    with pytest.raises(UserError, match=message) as refused:
        quantise(small, tmp_path / "int8.onnx", "tensorrt", frames, min_agreement=101, silent=True)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_too_few_frames(small: Path, frames: list[Frame], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^int8: 7 calibration frames are too few, 8 or more are needed; .*$"
    ):
        quantise(small, tmp_path / "int8.onnx", "cpu", frames[:7], silent=True)


def test_a_graph_without_layers(small: Path, frames: list[Frame], tmp_path: Path) -> None:
    model = onnx.load(small)
    del model.graph.initializer[:]
    onnx.save(model, tmp_path / "empty.onnx")
    with pytest.raises(UserError, match=r"empty.onnx: has no layer that cpu runs in int8; keep fp32"):
        quantise(tmp_path / "empty.onnx", tmp_path / "int8.onnx", "cpu", frames, silent=True)


def test_it_is_silent_and_leaves_nothing_behind(
    small: Path,
    frames: list[Frame],
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for folder in ("here", "temporary", "out"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    root = logging.getLogger()
    before = (list(root.handlers), root.manager.disable)
    quantise(small, tmp_path / "out" / "int8.onnx", target, frames, min_agreement=LOW, silent=True)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "here",
        "out",
        "out/int8.onnx",
        "temporary",
    ]
    assert (list(root.handlers), root.manager.disable) == before
    assert capfd.readouterr() == ("", "")
