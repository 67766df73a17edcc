"""The end of a network, logits (1,C,h,w) float32 -> mask (4h,4w) uint8, in the forms that were considered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FACTOR = 4
OPSET = 18

Tail = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


def tails(classes: int, options: onnxruntime.SessionOptions) -> Mapping[str, Tail]:
    """Every form by its name; the first is the one that the others are timed against."""
    return {
        "Resize NCHW, ArgMax over axis 1": _session(_channels_first(), classes, options),
        "Transpose, Resize NHWC, ArgMax over the last axis": _session(_channels_last(), classes, options),
        "4x4 phases by convolution, ArgMax, DepthToSpace": _session(_phases(classes), classes, options),
        "cv2.resize of all classes, NumPy argmax": resize_then_argmax,
        "cv2.resize class by class, running maximum": _running_maximum,
        "NumPy alone": _numpy,
    }


def reference(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """PyTorch's, which the others must agree with."""
    upsampled = F.interpolate(
        torch.from_numpy(logits), scale_factor=FACTOR, mode="bilinear", align_corners=False
    )
    mask: NDArray[np.uint8] = upsampled.argmax(dim=1)[0].to(torch.uint8).numpy()
    return mask


def _session(
    parts: tuple[list[onnx.NodeProto], list[onnx.TensorProto]],
    classes: int,
    options: onnxruntime.SessionOptions,
) -> Tail:
    nodes, constants = parts
    graph = helper.make_graph(
        nodes,
        "tail",
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes, "h", "w"])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def run(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
        mask: NDArray[np.uint8] = session.run(["mask"], {"logits": logits})[0]
        return mask.reshape(mask.shape[-2:])

    return run


def _channels_first() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    scales = numpy_helper.from_array(np.array([1, 1, FACTOR, FACTOR], np.float32), "scales")
    return [_resize("logits", "large"), _argmax("large", axis=1), _cast("mask")], [scales]


def _channels_last() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    scales = numpy_helper.from_array(np.array([1, FACTOR, FACTOR, 1], np.float32), "scales")
    transpose = helper.make_node("Transpose", ["logits"], ["last"], perm=[0, 2, 3, 1])
    return [transpose, _resize("last", "large"), _argmax("large", axis=3), _cast("mask")], [scales]


def _phases(classes: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The 16 pixels that come of one, each a weighted sum of its 3x3 neighbours, as channels of a convolution."""
    line = np.zeros((FACTOR, 3), np.float32)
    for phase in range(FACTOR):
        at = (phase + 0.5) / FACTOR - 0.5  # in pixels of the small picture
        first = int(np.floor(at))
        line[phase, first + 1] = 1 - (at - first)
        line[phase, first + 2] = at - first
    kernels = np.einsum("ay,bx->abyx", line, line).reshape(FACTOR**2, 1, 3, 3)
    shape = np.array([0, classes, FACTOR**2, -1], np.int64)
    constants = {
        "weight": np.tile(kernels, (classes, 1, 1, 1)),
        "edges": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "flat": shape,
    }
    nodes = [
        helper.make_node("Pad", ["logits", "edges"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "weight"], ["phases"], group=classes),
        helper.make_node("Shape", ["logits"], ["grid"], start=2),
        helper.make_node("Reshape", ["phases", "flat"], ["split"]),
        _argmax("split", axis=1),
        _cast("small"),
        helper.make_node("Concat", ["lead", "grid"], ["square"], axis=0),
        helper.make_node("Reshape", ["small", "square"], ["deep"]),
        helper.make_node("DepthToSpace", ["deep"], ["mask"], blocksize=FACTOR),
    ]
    constants["lead"] = np.array([1, FACTOR**2], np.int64)
    return nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()]


def _resize(source: str, output: str) -> onnx.NodeProto:
    return helper.make_node(
        "Resize",
        [source, "", "scales"],
        [output],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _argmax(source: str, axis: int) -> onnx.NodeProto:
    return helper.make_node("ArgMax", [source], ["ids"], axis=axis, keepdims=0)


def _cast(output: str) -> onnx.NodeProto:
    return helper.make_node("Cast", ["ids"], [output], to=TensorProto.UINT8)


def resize_then_argmax(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What is usually written behind a session that gives logits."""
    height, width = (FACTOR * side for side in logits.shape[2:])
    large = cv2.resize(logits[0].transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    mask: NDArray[np.uint8] = large.argmax(axis=2).astype(np.uint8)
    return mask


def _running_maximum(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    size = (FACTOR * logits.shape[3], FACTOR * logits.shape[2])
    best = cv2.resize(logits[0, 0], size, interpolation=cv2.INTER_LINEAR)
    mask = np.zeros(size[::-1], np.uint8)
    for number, small in enumerate(logits[0, 1:], 1):
        large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        larger = cv2.compare(large, best, cv2.CMP_GT)
        cv2.copyTo(np.full_like(mask, number), larger, mask)
        cv2.max(large, best, dst=best)
    return mask


def _numpy(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    large = _enlarged(_enlarged(logits[0], axis=1), axis=2)
    mask: NDArray[np.uint8] = large.argmax(axis=0).astype(np.uint8)
    return mask


def _enlarged(x: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    side = x.shape[axis]
    at = np.clip((np.arange(FACTOR * side) + 0.5) / FACTOR - 0.5, 0, side - 1)
    low = np.minimum(at.astype(np.int64), side - 2)
    weight = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    below, above = np.take(x, low, axis), np.take(x, low + 1, axis)
    result: NDArray[np.float32] = below + weight * (above - below)
    return result
