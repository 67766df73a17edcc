"""torch -> ONNX: the deployed graph at opset 18, read back and checked."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from kd_deploy.export.channels_last import TRANSLATIONS

OPSET = 18
"""ONNX Runtime's CUDA provider runs Resize-19 on the CPU, TensorRT 10.3 reads 18, LayerNormalization is one op
from 17."""

BF16_OPSET = 22
"""ONNX's convolutions take bfloat16 from 22 on; TensorRT reads it from 10.6."""


def opset_of(graph: nn.Module) -> int:
    """The opset that the graph is written at: the lowest that knows its types, from `OPSET` on."""
    return BF16_OPSET if any(p.dtype == torch.bfloat16 for p in graph.parameters()) else OPSET


@dataclass(frozen=True)
class Ends:
    """What a graph takes: `frame` (N, H, W, 3) uint8.

    Attributes:
        size: height and width in pixels.
        batch: frames in one run; None: any number.
        multiple: where height and width are free, what they are multiples of; None: they are `size`.
        least: where they are free, the smallest that the graph serves; a multiple.
    """

    size: tuple[int, int]
    batch: int | None = None
    multiple: int | None = None
    least: int = 1

    def shape(self) -> list[int | None]:
        """N, H and W of the graph, None where they are free."""
        return [self.batch, *((None, None) if self.multiple else self.size)]

    def to_json(self) -> dict[str, Any]:
        """The manifest's `input`."""
        free = {"multiple": self.multiple, "least": self.least} if self.multiple else {}
        return {
            "name": "frame",
            "dtype": "uint8",
            "layout": "NHWC",
            "channels": "BGR",
            "size": list(self.size),
            "batch": self.batch or "dynamic",
            **free,
        }


def write_onnx(graph: nn.Module, ends: Ends, file: Path, facts: Mapping[str, object]) -> None:
    """Export `graph`, a `DeployedGraph` or one in another order, and check what was written.

    Args:
        graph: of a folded network.
        facts: what a reader of the file alone should know; JSON values in the ONNX metadata_props.

    Raises:
        RuntimeError: the exporter wrote another opset or other tensors than asked for (a bug, not the user's).
    """
    graph, opset = graph.eval().cpu(), opset_of(graph)
    # A batch of 2: a tracer given 1 takes it for a constant.
    frame = torch.randint(0, 256, (ends.batch or 2, *ends.size, 3), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            graph,
            (frame,),
            input_names=["frame"],
            output_names=["mask"],
            opset_version=opset,
            dynamo=True,
            external_data=False,
            dynamic_shapes={"frame": _free(ends)},
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    _shapes_after_cast(model.graph)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    onnx.save(model, file)
    check(file, ends, opset)


def _free(ends: Ends) -> dict[int, Any]:
    """The dimensions that torch.export leaves open."""
    free: dict[int, Any] = {} if ends.batch else {0: torch.export.Dim("batch", min=1)}
    if ends.multiple:
        least = -(-ends.least // ends.multiple)
        rows, columns = (torch.export.Dim(name, min=least) for name in ("rows", "columns"))
        free |= {1: ends.multiple * rows, 2: ends.multiple * columns}
    return free


def _shapes_after_cast(graph: onnx.GraphProto) -> None:
    """Ask the float frame for its sides, not the frame: they are the same, and TensorRT casts UINT8 before all else."""
    shapes = [node for node in graph.node if node.op_type == "Shape" and node.input[0] == "frame"]
    if not shapes:
        return
    index = next(
        i for i, node in enumerate(graph.node) if node.op_type == "Cast" and node.input[0] == "frame"
    )
    for node in shapes:
        node.input[0] = graph.node[index].output[0]
    cast = onnx.NodeProto()
    cast.CopyFrom(graph.node[index])
    del graph.node[index]
    graph.node.insert(0, cast)


def check(file: Path, ends: Ends, opset: int = OPSET) -> None:
    """ONNX's own checker with shape inference, then opset and the two ends as the bundle promises them.

    Raises:
        RuntimeError: the file is not what `write_onnx` promises.
    """
    onnx.checker.check_model(str(file), full_check=True)
    model = onnx.load(file)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets.get("ai.onnx") != opset:
        raise RuntimeError(f"{file}: asked for opset {opset}, the exporter wrote {opsets}")
    found = [_tensor(value) for value in (*model.graph.input, *model.graph.output)]
    expected = [("frame", "UINT8", [*ends.shape(), 3]), ("mask", "UINT8", ends.shape())]
    if found != expected:
        raise RuntimeError(f"{file}: the graph's ends are {found}, expected {expected}")


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
