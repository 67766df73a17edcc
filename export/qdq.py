"""Which nodes of a graph can run in int8, in groups of layers, and Q/DQ around those that are chosen."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantizationMode, QuantType, TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer

Target = Literal["tensorrt", "cpu"]
Range = tuple[np.float32, np.float32]

WEIGHT_BITS = {"tensorrt": (8,), "cpu": (8, 7)}
"""How fine weights may be, in the order in which they are tried. Processors without VNNI add two products of uint8 and
int8 in 16 bits: of 8 and 8 bits they overflow in silence, of 8 and 7 they do not."""

_WEIGHTED = {"tensorrt": ("Conv", "Gemm", "MatMul"), "cpu": ("Conv", "MatMul")}
_ACTIVATIONS = ("Relu", "Clip")
_MIN_GROUPS = 8
_SCOPES = (
    "pkg.torch.onnx.name_scopes"  # the exporter's note on a node: its modules from the outermost, then itself
)
_MATMUL_CHANNELS = {"QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}}  # columns


def read(source: Path) -> onnx.ModelProto:
    """The graph with the shapes of its tensors and a name for every node."""
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    return model


def groups(model: onnx.ModelProto, target: Target) -> dict[str, tuple[str, ...]]:
    """Names of the nodes with weights that `target` runs in int8, by the module they come from, in the graph's order.

    The tree of modules is cut at the least depth that gives 8 groups: a stage of a SegFormer, a block of a
    MobileNet. A node that names no module goes with the one before it.
    """
    paths: dict[str, tuple[str, ...]] = {}
    path: tuple[str, ...] = ()
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES)
        path = tuple(ast.literal_eval(scopes)[-2].split(".")) if scopes else path
        if node.op_type in _WEIGHTED[target] and node.input[1] in weights:
            paths[node.name] = path or (node.name,)
    deepest = max(map(len, paths.values()), default=1)
    depths = range(deepest)
    shared = next((d for d in depths if len({path[d : d + 1] for path in paths.values()}) > 1), deepest - 1)
    cut: dict[str, tuple[str, ...]] = {}
    for depth in range(shared + 1, deepest + 1):  # without segmenter.network, which all of them share
        cut = {}
        for node_name, path in paths.items():
            group = ".".join(path[shared:depth])
            cut[group] = (*cut.get(group, ()), node_name)
        if len(cut) >= _MIN_GROUPS:
            break
    return cut


def calibrated(model: onnx.ModelProto, target: Target) -> list[str]:
    """The tensors whose ranges `insert` needs: what goes into the weighted nodes, and for the CPU what comes out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    if target == "tensorrt":
        nodes = {name for group in groups(model, target).values() for name in group}
        tensors = [node.input[0] for node in model.graph.node if node.name in nodes]
    else:
        inner = [node for node in model.graph.node if node.op_type in ("Conv", *_ACTIVATIONS)]
        tensors = [tensor for node in inner for tensor in (node.input[0], node.output[0])]
    return [tensor for tensor in dict.fromkeys(tensors) if tensor not in weights]


def insert(
    model: onnx.ModelProto,
    target: Target,
    chosen: Collection[str],
    ranges: Mapping[str, Range],
    weight_bits: int = 8,
) -> onnx.ModelProto:
    """A copy of `model` with the weighted nodes named in `chosen` in int8; its ends and facts are the same.

    Args:
        weight_bits: one of `WEIGHT_BITS`.

    Raises:
        RuntimeError: ONNX Runtime's quantiser wrote another opset, other ends or an invalid graph (a bug).
    """
    names = {
        kind: [node.name for node in model.graph.node if node.op_type == kind and node.name in chosen]
        for kind in _WEIGHTED[target]
    }
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    with _quiet():
        if target == "tensorrt":
            graph = _signed(graph, [*itertools.chain(*names.values())], ranges)
        else:
            if names["MatMul"]:
                graph = _dynamic(graph, names["MatMul"], weight_bits)
            if names["Conv"]:
                graph = _unsigned(graph, names["Conv"], ranges, weight_bits)
    _restore(graph, model)
    return graph


def _signed(model: onnx.ModelProto, nodes: list[str], ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """int8 in front of the nodes, symmetric; their outputs stay float, so that TensorRT fuses the activation."""
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(_WEIGHTED["tensorrt"]),
        **_MATMUL_CHANNELS,
    }
    return _static(model, QuantType.QInt8, nodes, list(_WEIGHTED["tensorrt"]), ranges, 8, options)


def _unsigned(
    model: onnx.ModelProto, convs: list[str], ranges: Mapping[str, Range], weight_bits: int
) -> onnx.ModelProto:
    """uint8 in front of and behind convolutions, whose activation becomes the clipping at 0 and 255."""
    activations = [node.name for node in model.graph.node if node.op_type in _ACTIVATIONS]
    return _static(
        model, QuantType.QUInt8, convs + activations, ["Conv", *_ACTIVATIONS], ranges, weight_bits, {}
    )


def _static(
    model: onnx.ModelProto,
    activation: QuantType,
    nodes: list[str],
    kinds: list[str],
    ranges: Mapping[str, Range],
    weight_bits: int,
    options: dict[str, Any],
) -> onnx.ModelProto:
    data = TensorsData(CalibrationMethod.MinMax, dict(ranges))
    quantizer = QDQQuantizer(
        model, True, weight_bits == 7, QuantType.QInt8, activation, data, nodes, [], kinds, options
    )
    return _finish(quantizer)


def _dynamic(model: onnx.ModelProto, nodes: list[str], weight_bits: int) -> onnx.ModelProto:
    """MatMul in integers with a scale taken from each input as it comes; weights int8 per column."""
    quantizer = ONNXQuantizer(
        model,
        True,
        weight_bits == 7,
        QuantizationMode.IntegerOps,
        False,
        QuantType.QInt8,
        QuantType.QUInt8,
        None,
        nodes,
        [],
        ["MatMul"],
        {"MatMulConstBOnly": True},
    )
    return _finish(quantizer)


def _finish(quantizer: QDQQuantizer | ONNXQuantizer) -> onnx.ModelProto:
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model: onnx.ModelProto = quantizer.model.model
    return model


def _restore(graph: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Take out what the quantiser noted for itself, and check what it must not touch."""
    del graph.metadata_props[:]
    graph.metadata_props.extend(model.metadata_props)
    used = {node.domain for node in graph.graph.node}
    opsets = [entry for entry in graph.opset_import if entry.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    onnx.checker.check_model(graph, full_check=True)
    for field in ("input", "output"):
        if list(getattr(graph.graph, field)) != list(getattr(model.graph, field)):
            raise RuntimeError(f"quantised graph: its {field} is not that of the graph it was made from")
    if opsets != [entry for entry in model.opset_import if entry.domain in used]:
        raise RuntimeError(f"quantised graph: has other opsets than the graph it was made from: {opsets}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints and logs to the root logger, which without a handler would get one for good."""
    root, handler = logging.getLogger(), logging.NullHandler()
    before = root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
