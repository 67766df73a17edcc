"""Which precision did the engine's compute layers really get? API-checked, not run.

The parsed network says what the graph asks of each convolution and matrix product; the engine inspector says what was
built. TensorRT may keep another precision without a word, and most users find out from the speed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kd_deploy.runtime.nvidia import trt

MAX_OTHER = 10.0
"""Percent of the layers asked for in a precision that may run in another one (int8: TensorRT has no int8 kernel for
some shapes)."""

_PRECISIONS = {
    "float": "fp32",
    "float32": "fp32",
    "fp32": "fp32",
    "half": "fp16",
    "float16": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "int8": "int8",
}
"""Words of the inspector and names of trt.DataType -> our names."""

_WORD = re.compile(r"[a-z]+\d*")
_NAME = re.compile(r"[^\s\[\](){}+,\x1e\x1f]+")


@dataclass(frozen=True)
class Layer:
    """An engine's layer.

    Attributes:
        nodes: names of the network's layers that were fused into it.
        types: precisions of its weights, else of its inputs; empty where the inspector does not say.
    """

    nodes: frozenset[str]
    types: frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """What became of the layers that were asked for in a precision.

    Attributes:
        precision: the one that was asked for.
        compute: convolutions and matrix products of the graph.
        asked: how many of them the graph has in this precision.
        confirmed: how many the engine has in it.
        other: layer -> the precision it has instead.
        unknown: how many the inspector does not tell of.
    """

    precision: str
    compute: int
    asked: int
    confirmed: int
    other: dict[str, str]
    unknown: int

    @property
    def problem(self) -> str | None:
        """Why the engine is not what was asked for; None where it is, or nobody can tell."""
        if not self.asked and self.compute:
            return f"none of the graph's {self.compute} convolutions and matrix products is {self.precision}"
        share = 100 * len(self.other) / max(self.asked, 1)
        if share <= MAX_OTHER:
            return None
        named = ", ".join(f"{name} ({precision})" for name, precision in list(self.other.items())[:3])
        more = f" and {len(self.other) - 3} more" if len(self.other) > 3 else ""
        return (
            f"{len(self.other)} of the {self.asked} layers asked for in {self.precision} ({share:.0f} %) run in "
            f"another precision: {named}{more}"
        )


def asked_precisions(network: trt.INetworkDefinition) -> dict[str, str]:
    """Layer -> precision that the parsed network asks for, of its convolutions and matrix products."""
    kind = trt.LayerType
    compute = (kind.CONVOLUTION, kind.DECONVOLUTION, kind.MATRIX_MULTIPLY)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantized = {layer.get_output(0).name for layer in layers if layer.type == kind.DEQUANTIZE}
    asked = {}
    for layer in layers:
        if layer.type in compute:
            data = layer.get_input(0)
            asked[layer.name] = (
                "int8" if data.name in dequantized else _PRECISIONS.get(data.dtype.name.lower(), "?")
            )
    return asked


def engine_layers(
    engine: trt.ICudaEngine, context: trt.IExecutionContext, frame: str, shape: tuple[int, ...]
) -> list[Layer]:
    """The engine's layers with their precisions.

    Args:
        context: of this engine.
        frame: the input's name.
        shape: one that it takes; without it the inspector does not know the formats of a dynamic batch.
    """
    context.set_input_shape(frame, shape)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(information: str) -> list[Layer]:
    """The layers in the inspector's JSON, of 10.x ("Format/Datatype") or 11.x ("Format" and "Datatype").

    An engine built without detailed verbosity names its layers and no more; what is no JSON has no layers.
    """
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return []
    return [_layer(layer if isinstance(layer, dict) else {"Name": str(layer)}) for layer in layers]


def _layer(layer: dict[str, Any]) -> Layer:
    text = f"{layer.get('Name', '')} {layer.get('Metadata', '')}"
    weights: dict[str, Any] = layer.get("Weights") or {}
    types = _types(str(weights.get("Type", "")))
    if not types:
        types = frozenset().union(*(_types(_datatype(tensor)) for tensor in layer.get("Inputs", ())))
    return Layer(frozenset(_NAME.findall(text)), types)


def _datatype(tensor: dict[str, Any]) -> str:
    keys = ("Datatype", "DataType", "Format/Datatype")
    return next((str(tensor[key]) for key in keys if key in tensor), "")


def _types(text: str) -> frozenset[str]:
    return frozenset(_PRECISIONS[word] for word in _WORD.findall(text.lower()) if word in _PRECISIONS)


def judge(asked: dict[str, str], layers: Sequence[Layer], precision: str) -> Verdict:
    """Compare what the graph asks for in `precision` with what the engine has."""
    wanted = [name for name, of in asked.items() if of == precision]
    other: dict[str, str] = {}
    confirmed = 0
    for name in wanted:
        types = frozenset().union(*(layer.types for layer in layers if name in layer.nodes))
        if precision in types:
            confirmed += 1
        elif types:
            other[name] = "/".join(sorted(types))
    unknown = len(wanted) - confirmed - len(other)
    return Verdict(precision, len(asked), len(wanted), confirmed, other, unknown)
