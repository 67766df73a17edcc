"""Which nodes of an ONNX graph TensorRT's parser does not read, or not as they are used, asked before any device.

The answer comes from trt_operators.json beside this file, which names its documents, their versions and what it
leaves out. Nothing here runs TensorRT: on the device the parser itself decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx.inliner
from onnx import numpy_helper

UNSUPPORTED: Literal["unsupported"] = "unsupported"
LIMITED: Literal["limited"] = "limited"

_UINT8_PARTNERS = ("FLOAT", "FLOAT16")
"""What UINT8 is converted from and to (DataType::kUINT8)."""


@dataclass(frozen=True)
class Finding:
    """A node that TensorRT's ONNX parser may refuse.

    Attributes:
        node: the node's name, or its first output in brackets where it has none; "" for the graph as a whole.
        operator: its ONNX operator, with the domain where that is not ONNX's own.
        status: "unsupported": the operator is not read; "limited": it is read, but not with this type, attribute or
            input.
        reason: what is wrong, and what would be read.
        versions: the TensorRT versions it holds for, like "10.3 to 11.4" or "before 10.4".
    """

    node: str
    operator: str
    status: Literal["unsupported", "limited"]
    reason: str
    versions: str


@dataclass
class _Known:
    """What is known of a graph's tensors by name; a subgraph also sees what is around it."""

    types: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

    def inside(self, graph: onnx.GraphProto) -> _Known:
        known = _Known(dict(self.types), dict(self.ranks), dict(self.constants))
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            if tensor.elem_type:
                known.types[value.name] = onnx.TensorProto.DataType.Name(tensor.elem_type)
            if tensor.HasField("shape"):
                known.ranks[value.name] = len(tensor.shape.dim)
        held = {
            n.output[0]: a.t
            for n in graph.node
            if n.op_type == "Constant"
            for a in n.attribute
            if a.name == "value"
        }
        for name, tensor in (*((t.name, t) for t in graph.initializer), *held.items()):
            known.types[name] = onnx.TensorProto.DataType.Name(tensor.data_type)
            known.ranks[name] = len(tensor.dims)
            known.constants[name] = tensor
        return known


def check(model: onnx.ModelProto | Path) -> list[Finding]:
    """Hold every node of a model, subgraphs and local functions included, against the table.

    Types come from ONNX's shape inference; where it knows none, none is checked.

    Args:
        model: one that ONNX's own checker accepts, or its file.
    """
    if isinstance(model, Path):
        model = onnx.load(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model = onnx.shape_inference.infer_shapes(model)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return [*_opset(opset), *_graph(model.graph, _Known(), opset, outermost=True)]


def render(findings: Mapping[str, Sequence[Finding]], most: int = 4) -> list[str]:
    """The findings of models by name, for a person: a line or two for all, then at most `most` lines of like nodes."""
    table = f"TensorRT {_all_versions()}, by its ONNX parser's documentation:"
    clean = [name for name, found in findings.items() if not found]
    lines = [f"{table} reads every node of {', '.join(clean)}"] if clean else []
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name, found in findings.items():
        for f in found:
            nodes = groups.setdefault((f.status, f.operator, f.reason, f.versions), {})
            nodes.setdefault(name, []).append(f.node)
    if groups:
        counts = ", ".join(f"{len(found)} of {name}" for name, found in findings.items() if found)
        lines.append(f"{table} nodes that may be refused: {counts}; kd-deploy build asks the parser itself")
    ordered = sorted(groups.items(), key=lambda group: group[0][0], reverse=True)  # the unsupported first
    for (status, operator, reason, versions), models in ordered[:most]:
        first, *others = (node for nodes in models.values() for node in nodes)
        more = f" and {len(others)} more" if others else ""
        where = f" {first}{more}" if first else ""
        lines.append(f"  {status} ({versions}), in {', '.join(models)}: {operator}{where}: {reason}")
    if len(groups) > most:
        lines.append(f"  and {len(groups) - most} more kinds")
    return lines


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(
        Path(__file__).with_name("trt_operators.json").read_text(encoding="utf-8")
    )
    table["types"] = {name: group["types"] for group in table["operators"] for name in group["names"]}
    return table


def _all_versions() -> str:
    return " to ".join(_table()["versions"])


def _before(version: str | None) -> str:
    return _all_versions() if version is None else f"before {version}"


def _opset(opset: int) -> Iterator[Finding]:
    last = _table()["last_opset"]
    if opset > min(last.values()):
        first = next((version for version, highest in last.items() if opset <= highest), None)
        yield Finding(
            "", f"opset {opset}", LIMITED, f"export at opset {min(last.values())} or below", _before(first)
        )


def _graph(
    graph: onnx.GraphProto, around: _Known, opset: int, *, outermost: bool = False
) -> Iterator[Finding]:
    known = around.inside(graph)
    ends = {value.name for value in (*graph.input, *graph.output)} if outermost else set()
    for node in graph.node:
        name, operator = node.name or f"({node.output[0]})", node.op_type
        if node.domain not in ("", "ai.onnx"):
            reason = f"of the domain {node.domain}: read only where a plugin of this name is loaded"
            yield Finding(name, f"{node.domain}.{operator}", UNSUPPORTED, reason, _all_versions())
            continue
        if operator not in _table()["types"]:
            yield Finding(name, operator, UNSUPPORTED, "not among the operators it reads", _all_versions())
            continue
        if since := _table()["since"].get(operator):
            yield Finding(name, operator, UNSUPPORTED, f"read from {since} on", _before(since))
        for reason, versions in _limits(node, known, ends, onnx.defs.get_schema(operator, opset)):
            yield Finding(name, operator, LIMITED, reason, versions)
        for attribute in node.attribute:
            for subgraph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graph(subgraph, known, opset)


def _limits(
    node: onnx.NodeProto, known: _Known, ends: set[str], schema: onnx.defs.OpSchema
) -> Iterator[tuple[str, str]]:
    """What this node asks for beyond the operator's limits, with the versions."""
    if reason := _uint8(node, known, ends) or _types(node, known, schema):
        yield reason, _all_versions()
    for limit in _table()["limits"]:
        if node.op_type in limit["operators"] and (reason := _beyond(limit, node, known, schema)):
            yield reason, _before(limit.get("until"))


def _uint8(node: onnx.NodeProto, known: _Known, ends: set[str]) -> str | None:
    """UINT8 stands at the network's two ends alone, one Cast away from FLOAT or FLOAT16."""

    def misplaced(name: str, others: Sequence[str]) -> bool:
        if known.types.get(name) != "UINT8" or name in known.constants:
            return False
        return name not in ends or node.op_type != "Cast" or known.types.get(others[0]) not in _UINT8_PARTNERS

    if any(misplaced(name, node.output) for name in node.input):
        return "takes UINT8: cast the graph's input to FLOAT or FLOAT16 before any other node"
    if any(misplaced(name, node.input) for name in node.output):
        return "gives UINT8: only a Cast from FLOAT or FLOAT16 to the graph's output may"
    return None


def _types(node: onnx.NodeProto, known: _Known, schema: onnx.defs.OpSchema) -> str | None:
    """The table's types are those of the data: the tensors of the parameter T, else of the first input's."""
    read = _table()["types"][node.op_type]
    formals, names = (schema.inputs, node.input) if node.input else (schema.outputs, node.output)
    parameters = [formal.type_str for formal in formals]
    data = "T" if "T" in parameters else parameters[0]
    # A variadic operator has more inputs than parameters: they are all of the last one.
    pairs = zip_longest(names, parameters[: len(names)], fillvalue=parameters[-1])
    found = {known.types.get(name, "UINT8") for name, parameter in pairs if name and parameter == data}
    wrong = (
        sorted(found - {*read, "UINT8"}) if read else []
    )  # UINT8 is `_uint8`'s, and stands for unknown here
    if not wrong:
        return None
    double = "; DOUBLE is turned into FLOAT" if "DOUBLE" in wrong else ""
    return f"takes {', '.join(wrong)}, read: {', '.join(read)}{double}"


def _beyond(
    limit: dict[str, Any], node: onnx.NodeProto, known: _Known, schema: onnx.defs.OpSchema
) -> str | None:
    """Why `node` is beyond one entry of the table's limits; None where it is within."""
    if "attribute" in limit:
        return _attribute(limit["attribute"], limit["allowed"], node)
    if "outputs" in limit:
        used = [
            schema.outputs[i].name for i, name in enumerate(node.output) if name and i >= limit["outputs"]
        ]
        return f"output {', '.join(used)} is used, only the first is given" if used else None
    position = limit["input"]
    name = node.input[position] if position < len(node.input) else ""
    if not name:
        return None
    formal, constant = schema.inputs[position].name, known.constants.get(name)
    if "types" in limit and known.types.get(name) in {"INT32", "INT64"} - set(limit["types"]):
        return f"takes {known.types[name]}, read: {', '.join(limit['types'])}"
    if "ranks" in limit and known.ranks.get(name, limit["ranks"][0]) not in limit["ranks"]:
        ranks = " or ".join(map(str, limit["ranks"]))
        return f"input {formal} has {known.ranks[name]} dimensions, read: {ranks}"
    if "constant" in limit and constant is None:
        return f"input {formal} is computed in the graph, it must be a constant"
    if "zero" in limit and (constant is None or numpy_helper.to_array(constant).any()):
        return f"input {formal} must be a constant of zeros"
    return None


def _attribute(name: str, allowed: list[Any], node: onnx.NodeProto) -> str | None:
    given = next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
    if given is None:  # every default of ONNX is within the limits
        return None
    values = [
        v.decode() if isinstance(v, bytes) else v for v in (given if isinstance(given, list) else [given])
    ]
    if all(value in allowed for value in values):
        return None
    return f"{name} is {', '.join(map(str, values))}, read: {', '.join(map(str, allowed))}"
