"""Writes runtime/doctor/tiny.onnx: `PYTHONPATH=. python tests/runtime/doctor/make_tiny.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FILE = Path(__file__).parents[3] / "runtime/doctor/tiny.onnx"


def model() -> onnx.ModelProto:
    """Which of red, green and blue is strongest; ends, types, opset and the order of things as in a bundle."""
    swap = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)  # blue, green, red -> red, green, blue
    make = helper.make_node
    nodes = [
        make("Cast", ["frame"], ["floats"], "cast", to=TensorProto.FLOAT),
        make("Transpose", ["floats"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        make("Conv", ["planes", "swap"], ["scores"], "conv"),
        make("ArgMax", ["scores"], ["ids"], "argmax", axis=1, keepdims=0),
        make("Cast", ["ids"], ["wide"], "to_float", to=TensorProto.FLOAT),
        make("Cast", ["wide"], ["mask"], "to_uint8", to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, [1, 8, 8])],
        [numpy_helper.from_array(np.ascontiguousarray(swap), "swap")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


if __name__ == "__main__":
    FILE.write_bytes(model().SerializeToString(deterministic=True))
