"""The operator check: no false alarm on the students' graphs, and every kind of finding on a graph made for it."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from kd_deploy.export import operators
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.operators import Finding, check, render

ALL = "10.3 to 11.4"


def model(graph: str, opset: int = 18, functions: str = "") -> onnx.ModelProto:
    """A model in ONNX's own textual form, which its checker accepts."""
    header = f'<ir_version: 8, opset_import: ["": {opset}, "local": 1, "shop": 1]>'
    parsed = onnx.parser.parse_model(f"{header} main {graph}{functions}")
    onnx.checker.check_model(parsed)
    return parsed


def only(graph: str, opset: int = 18, functions: str = "") -> Finding:
    (finding,) = check(model(graph, opset, functions))
    return finding


def test_no_false_alarm_on_the_students(student: tuple[DeployedGraph, Path]) -> None:
    """A size that is padded inside and cut again has every node that an export gives."""
    assert check(student[1]) == []


@pytest.mark.parametrize(
    ("graph", "status", "reason", "versions"),
    [
        ("(float[4] x) => (float[4] y) { y = Bernoulli(x) }", "unsupported", "not among the operators", ALL),
        ("(float[4] x) => (float[4] y) { y = shop.Sell(x) }", "unsupported", "of the domain shop", ALL),
        ("(int32 x) => (float[n] y) { y = HannWindow(x) }", "unsupported", "read from 10.4", "before 10.4"),
        ("(double[4] x) => (double[4] y) { y = Relu(x) }", "limited", "takes DOUBLE, .* into FLOAT", ALL),
        ("(int64[4,4] x) => (int64[4,4] y) { y = MatMul(x, x) }", "limited", "takes INT64, read: FLOAT,", ALL),
        ("(float[4] x, int64[4] z) => (float[4] y) { y = Pow(x, z) }", None, "", ""),
        ("(int32[4] x) => (int32[4] y) { y = Pow(x, x) }", "limited", "takes INT32, read", "before 10.12"),
        ("(float[1,3,8] x) => (float[1,3,n] y) { y = MaxPool <kernel_shape=[2]>(x) }", "limited",
         "input X has 3 dimensions, read: 4 or 5", ALL),
        ("(float[1,3,8,8] x) => (float[1,3,a,b] y) { y = MaxPool <kernel_shape=[2,2], dilations=[1,2]>(x) }",
         "limited", "dilations is 1, 2, read: 1", ALL),
        ("(float[1,3,8,8] x) => (float[1,3,a,b] y, int64[1,3,a,b] z) "
         "{ y, z = MaxPool <kernel_shape=[2,2]>(x) }", "limited", "output Indices is used", ALL),
        ("(float[4] x) => (float[a] y, int64[a] i) <int64[1] k={2}> { y, i = TopK <sorted=0>(x, k) }", "limited",
         "sorted is 0, read: 1", ALL),
        ("(float[2,2] x, int64[1] a) => (float[m,n] y) { y = ReduceMean(x, a) }", "limited",
         "input axes is computed in the graph", ALL),
        ("(float[2,2] x, int64[1] a) => (float[a,b,c] y) { y = Unsqueeze(x, a) }", "limited", "input axes",
         "before 10.7"),
        ("(float[2,2] x) => (float[2,2] y) <float s={0.5}, int8 z={3}> "
         "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s) }", "limited",
         "input y_zero_point must be a constant of zeros", ALL),
    ],
)  # fmt: skip
def test_a_finding_of_every_kind(graph: str, status: str | None, reason: str, versions: str) -> None:
    findings = check(model(graph))
    assert [(f.status, f.versions) for f in findings] == ([(status, versions)] if status else [])
    assert all(f.operator for f in findings)
    for finding in findings:
        assert re.search(reason, finding.reason), finding.reason


RESIZE = "(float[1,3,4,4] x) => (float[1,3,8,8] y) <float[4] s={{1,1,2,2}}> {{ y = Resize <{}>(x, , s) }}"


@pytest.mark.parametrize(
    "attributes",
    [
        'mode="nearest"',
        'mode="linear"',
        'mode="linear", coordinate_transformation_mode="align_corners"',
        'mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"',
    ],
)
def test_the_ways_of_resizing_that_are_read(attributes: str) -> None:
    assert check(model(RESIZE.format(attributes))) == []


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('mode="cubic"', "mode is cubic, read: nearest, linear"),
        ('mode="linear", antialias=1', "antialias is 1, read: 0"),
        (
            'coordinate_transformation_mode="half_pixel_symmetric"',
            "coordinate_transformation_mode is half_pixel_symm",
        ),
        ('mode="linear", keep_aspect_ratio_policy="not_larger"', "keep_aspect_ratio_policy is not_larger"),
    ],
)
def test_the_ways_of_resizing_that_are_not(attributes: str, reason: str) -> None:
    finding = only(RESIZE.format(attributes), opset=19)
    assert (finding.operator, finding.status) == ("Resize", "limited")
    assert finding.reason.startswith(reason)


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16"])
def test_uint8_at_the_ends_through_a_cast(kind: str) -> None:
    """The frame in, ArgMax's INT64 through floats, the mask out."""
    number = onnx.TensorProto.DataType.Value(kind)
    graph = f"""(uint8[1,4,4,3] x) => (uint8[1,4,4] y) {{
        a = Cast <to={number}>(x) b = Transpose <perm=[0,3,1,2]>(a) c = ArgMax <axis=1, keepdims=0>(b)
        d = Cast <to={number}>(c) y = Cast <to=2>(d) }}"""
    assert check(model(graph)) == []


@pytest.mark.parametrize(
    ("graph", "operator", "reason"),
    [
        ("(uint8[2,3] x) => (float[3,2] y) { t = Transpose(x) y = Cast <to=1>(t) }", "Transpose", "takes UINT8"),
        ("(uint8[2] x) => (int64[2] y) { y = Cast <to=7>(x) }", "Cast", "takes UINT8"),
        ("(int64[2] x) => (uint8[2] y) { y = Cast <to=2>(x) }", "Cast", "gives UINT8"),
        ("(float[2] x) => (float[2] y) { u = Cast <to=2>(x) y = Cast <to=1>(u) }", "Cast", "gives UINT8"),
        ("(float[2] x) => (float[2] y) <float s={1.0}, uint8 z={0}> "
         "{ u = QuantizeLinear(x, s, z) y = DequantizeLinear(u, s, z) }", "QuantizeLinear", "gives UINT8"),
    ],
)  # fmt: skip
def test_uint8_anywhere_else(graph: str, operator: str, reason: str) -> None:
    finding = check(model(graph))[0]
    assert (finding.operator, finding.status, finding.versions) == (operator, "limited", ALL)
    assert finding.reason.startswith(reason)


def test_symmetric_int8_is_read() -> None:
    graph = """(float[2] x) => (float[2] y) <float s={0.5}, int8 z={0}> {
        q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"""
    assert check(model(graph)) == []


def test_an_opset_beyond_the_oldest_parser() -> None:
    graph = "(float[2] x) => (float[2] y) { y = Relu(x) }"
    assert check(model(graph, opset=20)) == []
    assert only(graph, opset=21) == Finding(
        "", "opset 21", "limited", "export at opset 20 or below", "before 10.6"
    )


def test_subgraphs_and_local_functions_are_looked_into() -> None:
    finding = only(
        """(bool c, float[2] x) => (float[2] y) {
        y = If <then_branch = t () => (float[2] a) { a = Bernoulli(x) },
                else_branch = e () => (float[2] b) { b = Relu(x) }>(c) }"""
    )
    assert (finding.node, finding.operator) == ("(a)", "Bernoulli")
    double = '<domain: "local", opset_import: ["": 18]> Twice (x) => (y) { z = Bernoulli(x) y = Add(z, z) }'
    assert (
        only("(float[2] x) => (float[2] y) { y = local.Twice(x) }", functions=double).operator == "Bernoulli"
    )


def test_every_operator_and_limit_of_the_table_is_onnxs() -> None:
    table = operators._table()
    schemas = {name: onnx.defs.get_schema(name) for name in table["types"]}
    assert table["since"].keys() <= schemas.keys()
    kinds = set(onnx.TensorProto.DataType.keys())
    assert all(kinds.issuperset(group["types"]) for group in table["operators"])
    for limit in table["limits"]:
        for name in limit["operators"]:
            assert limit.get("attribute", "") in {"", *schemas[name].attributes}
            assert limit.get("input", 0) < len(schemas[name].inputs) or "attribute" in limit


def test_rendering_names_the_models_puts_like_nodes_on_one_line_and_stays_short() -> None:
    def finding(node: str, operator: str, status: str = "limited") -> Finding:
        return Finding(node, operator, status, "why", ALL)  # type: ignore[arg-type]

    table = f"TensorRT {ALL}, by its ONNX parser's documentation:"
    assert render({"fp32": [], "int8": []}) == [f"{table} reads every node of fp32, int8"]
    found = [
        finding("a", "Cast"),
        finding("b", "Cast"),
        finding("", "opset 21"),
        finding("u", "Unique", "unsupported"),
    ]
    assert render({"fp32": [], "fp16": [finding("c", "Cast")], "bf16": found}) == [
        f"{table} reads every node of fp32",
        f"{table} nodes that may be refused: 1 of fp16, 4 of bf16; kd-deploy build asks the parser itself",
        f"  unsupported ({ALL}), in bf16: Unique u: why",
        f"  limited ({ALL}), in fp16, bf16: Cast c and 2 more: why",
        f"  limited ({ALL}), in bf16: opset 21: why",
    ]
    many = {"fp32": [finding("x", str(n)) for n in range(9)]}
    assert render(many, most=2)[3:] == ["  and 7 more kinds"]
