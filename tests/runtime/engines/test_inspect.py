"""The inspector's two dialects, and the verdict on an engine's precisions."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from kd_deploy.runtime.engines.inspect import asked_precisions, judge, parse_layers
from tests.runtime.fake_tensorrt import ILayer, ITensor
from tests.runtime.gpu import FakeGpu


def layer(name: str, datatype: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Name": name, "Inputs": [{"Name": "x", **datatype}], **more}


def types(entry: Any) -> set[str]:
    (found,) = parse_layers(json.dumps({"Layers": [entry]}))
    return set(found.types)


@pytest.mark.parametrize(
    ("datatype", "expected"),
    [
        ({"Format/Datatype": "Row major linear FP32"}, {"fp32"}),
        ({"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}, {"fp16"}),
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, {"int8"}),
        ({"Format/Datatype": "Half"}, {"fp16"}),
        ({"Format/Datatype": "BFloat16"}, {"bf16"}),
        ({"Format/Datatype": "N/A due to dynamic shapes"}, set()),
        ({"Format": "LINEAR", "Datatype": "FP16"}, {"fp16"}),
        ({"Format": "CHW32", "DataType": "INT8"}, {"int8"}),
        ({"Format": "LINEAR", "Datatype": "INT32"}, set()),
        ({}, set()),
    ],
)
def test_both_dialects(datatype: dict[str, Any], expected: set[str]) -> None:
    assert types(layer("a", datatype)) == expected


def test_weights_say_it_where_a_dynamic_shape_hides_the_formats() -> None:
    hidden = {"Format/Datatype": "N/A due to dynamic shapes"}
    assert types(layer("a", hidden, Weights={"Type": "Half", "Count": 9})) == {"fp16"}
    assert types(layer("a", {"Datatype": "FP32"}, Weights={"Type": "Int8"})) == {"int8"}


def test_names_of_fused_layers_are_found_in_name_and_metadata() -> None:
    entry = layer("conv_1 + PWN(relu_2, add_3)", {}, Metadata="[ONNX Layer: /enc/conv]\x1e[ONNX Layer: b]")
    (found,) = parse_layers(json.dumps({"Layers": [entry]}))
    assert {"conv_1", "relu_2", "add_3", "/enc/conv", "b"} <= found.nodes
    assert "conv" not in found.nodes


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"Bindings": []}'])
def test_what_says_nothing_has_no_layers(text: str) -> None:
    assert parse_layers(text) == []


def test_an_engine_that_only_names_its_layers_leaves_the_question_open() -> None:
    layers = parse_layers('{"Layers": ["conv_1 + relu", "conv_2"]}')
    verdict = judge({"conv_1": "fp16", "conv_2": "fp16"}, layers, "fp16")
    assert (verdict.confirmed, verdict.unknown, verdict.problem) == (0, 2, None)


def test_islands_that_the_graph_asks_for_are_no_mistake() -> None:
    names = [f"conv_{number}" for number in range(20)]
    asked = dict.fromkeys(names, "fp16") | {"head": "fp32"}
    built = dict.fromkeys(names, "FP16") | {"head": "FP32"}

    def verdict() -> Any:
        entries = [layer(name, {"Datatype": type_}) for name, type_ in built.items()]
        return judge(asked, parse_layers(json.dumps({"Layers": entries})), "fp16")

    assert (verdict().asked, verdict().confirmed, verdict().problem) == (20, 20, None)
    built.update(conv_1="FP32", conv_2="FP32")
    assert verdict().other == {"conv_1": "fp32", "conv_2": "fp32"}
    assert verdict().problem is None  # 10 %
    built.update(conv_3="FP32", conv_4="FP32")
    assert verdict().problem == (
        "4 of the 20 layers asked for in fp16 (20 %) run in another precision: conv_1 (fp32), conv_2 (fp32), "
        "conv_3 (fp32) and 1 more"
    )


def test_what_comes_from_a_dequantize_layer_is_asked_for_in_int8(gpu: FakeGpu) -> None:
    trt = gpu.trt
    kinds, floats = trt.LayerType, trt.DataType.FLOAT
    a, b, c, d = (ITensor(name, floats) for name in "abcd")
    layers = [
        ILayer("dq", kinds.DEQUANTIZE, [a], [b]),
        ILayer("conv_q", kinds.CONVOLUTION, [b], [c]),
        ILayer("conv_f", kinds.CONVOLUTION, [c], [d]),
        ILayer("product", kinds.MATRIX_MULTIPLY, [ITensor("h", trt.DataType.HALF)], [d]),
    ]
    network: Any = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    assert asked_precisions(network) == {"conv_q": "int8", "conv_f": "fp32", "product": "fp16"}
