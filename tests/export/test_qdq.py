"""Which nodes are quantised together."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kd_deploy.export.qdq import calibrated, groups


def chain(scopes: list[list[str] | None], kinds: list[str]) -> onnx.ModelProto:
    """MatMuls (and what else `kinds` says) one after the other, from the modules that `scopes` says."""
    nodes, weights = [], []
    for i, (scope, kind) in enumerate(zip(scopes, kinds, strict=True)):
        inputs = [f"t{i}", f"w{i}"] if kind == "MatMul" else [f"t{i}"]
        node = helper.make_node(kind, inputs, [f"t{i + 1}"], f"n{i}")
        if scope is not None:
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(scope))
        nodes.append(node)
        weights += [numpy_helper.from_array(np.eye(2, dtype=np.float32), f"w{i}")] if kind == "MatMul" else []
    ends = [helper.make_tensor_value_info(f"t{i}", TensorProto.FLOAT, [2, 2]) for i in (0, len(nodes))]
    return helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights))


def test_the_tree_of_modules_is_cut_where_it_gives_eight_groups() -> None:
    paths = [f"net.encoder.stage{i // 2}.layer{i}" for i in range(14)] + ["net.decoder.a.b", "net.head"]
    model = chain([["", "net", path, "matmul"] for path in paths], ["MatMul"] * 16)
    found = groups(model, "tensorrt")
    assert list(found) == [*(f"encoder.stage{i}" for i in range(7)), "decoder.a", "head"]
    assert found["encoder.stage1"] == ("n2", "n3")


def test_a_node_without_a_module_goes_with_the_one_before() -> None:
    model = chain(
        [["", "net.a", "x"], None, ["", "net.b", "x"], ["", "net.b", "x"]],
        ["MatMul", "MatMul", "Relu", "MatMul"],
    )
    assert groups(model, "tensorrt") == {"a": ("n0", "n1"), "b": ("n3",)}
    assert calibrated(model, "tensorrt") == ["t0", "t1", "t3"]
    assert calibrated(model, "cpu") == ["t2", "t3"]  # an activation's; MatMul takes its ranges at run time


def test_without_modules_every_node_is_a_group() -> None:
    assert groups(chain([None, None], ["MatMul", "MatMul"]), "cpu") == {"n0": ("n0",), "n1": ("n1",)}
    assert groups(chain([None], ["Relu"]), "cpu") == {}
