"""torch -> ONNX: the deployed graph at opset 18, read back and checked."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import torch

from kd_deploy.export.graph import DeployedGraph

OPSET = 18
"""ONNX Runtime's CUDA provider runs Resize-19 on the CPU, TensorRT 10.3 reads 18, LayerNormalization is one op
from 17."""


def write_onnx(graph: DeployedGraph, size: tuple[int, int], file: Path, facts: Mapping[str, object]) -> None:
    """Export `graph` for frames of `size` (height, width) with a free batch, and check what was written.

    Args:
        facts: what a reader of the file alone should know; JSON values in the ONNX metadata_props.

    Raises:
        RuntimeError: the exporter wrote another opset or other tensors than asked for (a bug, not the user's).
    """
    graph = DeployedGraph(graph.segmenter.folded()).eval().cpu()
    # A batch of 2: a tracer given 1 takes it for a constant.
    frame = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            graph,
            (frame,),
            input_names=["frame"],
            output_names=["mask"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes={"frame": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    onnx.save(model, file)
    check(file, size)


def check(file: Path, size: tuple[int, int]) -> None:
    """ONNX's own checker with shape inference, then opset and the two ends as the bundle promises them.

    Raises:
        RuntimeError: the file is not what `write_onnx` promises.
    """
    onnx.checker.check_model(str(file), full_check=True)
    model = onnx.load(file)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets.get("ai.onnx") != OPSET:
        raise RuntimeError(f"{file}: asked for opset {OPSET}, the exporter wrote {opsets}")
    ends = [_tensor(value) for value in (*model.graph.input, *model.graph.output)]
    expected = [("frame", "UINT8", [None, *size, 3]), ("mask", "UINT8", [None, *size])]
    if ends != expected:
        raise RuntimeError(f"{file}: the graph's ends are {ends}, expected {expected}")


def _tensor(value: onnx.ValueInfoProto) -> tuple[str, str, list[int | None]]:
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    return value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), shape


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own internals; errors still raise."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
