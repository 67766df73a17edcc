"""Deployments of a student with one bug each, for benchmarks/gate.py and tests/gate: would the parity gate stop them?

A bug is put where it would arise: in the ONNX file of a copied bundle (its graph, its weights), in what runs it, or in
the way from a frame to the model and back. The gate itself is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kd_deploy.models.segmenter import Segmenter
from kd_deploy.runtime import segment
from kd_deploy.runtime.model import Description, Model

Array = NDArray[np.uint8]


@dataclass(frozen=True)
class Networks:
    """The student as it was exported, and as it was at the middle of its training."""

    final: Segmenter
    earlier: Segmenter


Edit = Callable[[onnx.ModelProto, Networks], None]


@dataclass(frozen=True)
class Bug:
    """One way to deploy wrongly.

    Attributes:
        precision: of the bundle's models, the one that is deployed.
        edit: changes the ONNX graph in place.
        wrap: changes what runs it.
        pipeline: changes the way from a frame of any size to the model and back, as long as it is entered.
        size: height and width of the labelled frames, over those of the model.
    """

    name: str
    precision: str = "fp32"
    edit: Edit = lambda model, networks: None
    wrap: Callable[[Model], Model] = lambda model: model
    pipeline: Callable[[], AbstractContextManager[Any]] = nullcontext
    size: tuple[float, float] = (1, 1)


class Wrapped(Model):
    """A model whose masks are those of `run(model, frames)`."""

    def __init__(self, run: Callable[[Model, Array], Array], model: Model) -> None:
        self._masks, self._model = run, model
        self.size, self.batch = model.size, model.batch

    def describe(self) -> Description:
        return self._model.describe()

    def _run(self, frames: Array) -> Array:
        return self._masks(self._model, frames)

    def _close(self) -> None:
        self._model.close()


# The graph


def constant(model: onnx.ModelProto, name: str) -> Any:
    (found,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    return numpy_helper.to_array(found)


def put(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> None:
    (found,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    assert value.shape == tuple(found.dims), name
    dtype = helper.tensor_dtype_to_np_dtype(found.data_type)
    with np.errstate(over="ignore"):  # of a weight that is no float16 any more
        value = np.ascontiguousarray(value).astype(dtype)
    found.CopyFrom(numpy_helper.from_array(value, name))


def node(model: onnx.ModelProto, kind: str, output: str = "") -> onnx.NodeProto:
    """The last node of a kind, or the one with this output."""
    return [n for n in model.graph.node if n.op_type == kind and output in ("", *n.output)][-1]


def changed(names: Sequence[str], change: Callable[[Any], Any]) -> Edit:
    """Constants as `change` makes them."""

    def edit(model: onnx.ModelProto, networks: Networks) -> None:
        for name in names:
            put(model, name, change(constant(model, name)))

    return edit


def red_for_blue(model: onnx.ModelProto, networks: Networks) -> None:
    channels = next(n for n in model.graph.node if n.op_type == "Concat")
    channels.input[:] = list(channels.input)[::-1]


def align_corners(every: bool, model: onnx.ModelProto, networks: Networks) -> None:
    for resize in (
        [n for n in model.graph.node if n.op_type == "Resize"] if every else [node(model, "Resize")]
    ):
        (mode,) = (a for a in resize.attribute if a.name == "coordinate_transformation_mode")
        mode.s = b"align_corners"


def argmax_first(model: onnx.ModelProto, networks: Networks) -> None:
    """The argmax of the logits at stride 4, then nearest neighbours: the graph's tail anew."""
    resize = node(model, "Resize")
    sizes = node(model, "Concat", resize.input[3])
    shape = node(model, "Shape", sizes.input[0])
    del model.graph.node[list(model.graph.node).index(shape) :]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "channel"))
    make = helper.make_node
    nodes = [
        make("ArgMax", [resize.input[0]], ["ids"], axis=1, keepdims=1),
        make("Cast", ["ids"], ["low"], to=onnx.TensorProto.FLOAT),
        make("Shape", ["low"], list(shape.output), start=0, end=2),
        make("Concat", list(sizes.input), list(sizes.output), axis=0),
        make("Resize", ["low", "", "", resize.input[3]], ["high"], mode="nearest"),
        make("Squeeze", ["high", "channel"], ["flat"]),
        make("Cast", ["flat"], ["mask"], to=onnx.TensorProto.UINT8),
    ]
    model.graph.node.extend(nodes)


def exchange(first: int, second: int) -> Edit:
    def rows(value: Any) -> Any:
        order = np.arange(len(value))
        order[[first, second]] = second, first
        return value[order]

    return changed((f"{HEAD}.weight", f"{HEAD}.bias"), rows)


def epsilon(value: float, model: onnx.ModelProto, networks: Networks) -> None:
    """Batch normalisation folded into the convolutions with another epsilon than the network was trained with."""
    network = deepcopy(networks.final)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = value
    put_weights(model, network)


def earlier(model: onnx.ModelProto, networks: Networks) -> None:
    put_weights(model, networks.earlier)


def put_weights(model: onnx.ModelProto, network: Segmenter) -> None:
    """The graph's weights are those of another network, folded as export folds them."""
    there = {tensor.name for tensor in model.graph.initializer}
    weights = {f"segmenter.{key}": value for key, value in network.folded().state_dict().items()}
    assert len(there & weights.keys()) > 10
    for name in there & weights.keys():
        put(model, name, weights[name].numpy())


def shared_otherwise(block: str, factor: float | None = None) -> Edit:
    """The two convolutions of a residual block share their scales otherwise: the same function in float32, for a ReLU
    stands between. ONNX Runtime on a CPU keeps what lies between in float32, so it is weights that overflow here.

    Args:
        factor: on the first one's weights; None: the least power of two that takes the largest beyond float16.
    """

    def edit(model: onnx.ModelProto, networks: Networks) -> None:
        first, second = (f"segmenter.network.encoder.{block}.conv{number}" for number in (1, 2))
        largest = np.abs(constant(model, f"{first}.weight")).max().astype(float)
        by = np.float32(factor or 2 ** np.ceil(np.log2(np.finfo(np.float16).max / largest)))
        changed((f"{first}.weight", f"{first}.bias"), lambda value: value * by)(model, networks)
        changed((f"{second}.weight",), lambda value: value / by)(model, networks)

    return edit


def scale(name: str, factor: float) -> Edit:
    """A scale of int8's, in both of its places: where values are quantised and where they become floats again."""
    return changed((f"{name}_scale",), lambda value: value * np.float32(factor))


# What runs it, and the way there and back


def shifted(axis: int, by: int, model: Model, frames: Array) -> Array:
    """The masks moved, what comes in from outside being the border's ids."""
    masks = model.run(frames)
    places = np.clip(np.arange(masks.shape[axis]) - by, 0, masks.shape[axis] - 1)
    return np.ascontiguousarray(masks.take(places, axis=axis))


def repeated(index: int, model: Model, frames: Array) -> Array:
    """One frame's mask for all of a batch."""
    return model.run(frames)[[index] * len(frames)]


@contextmanager
def letterbox_without_offset() -> Iterator[None]:
    """The frame goes to the model with bars, and its mask comes back as if there had been none."""

    def boxed(image: Array, size: tuple[int, int]) -> Array:
        factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
        height, width = (round(factor * side) for side in image.shape[:2])
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        framed = np.zeros((*size, 3), np.uint8)
        framed[top : top + height, left : left + width] = cv2.resize(image, (width, height))
        return framed

    with patch.object(segment, "to_size", boxed):
        yield


MEAN, STD, HEAD = "segmenter.mean", "segmenter.std", "segmenter.network.segmentation_head.0"
FUSED, POOLED = "relu_17", "max_pool2d"  # what the decoder gives to the head, and the first layer to the rest

BUGS = (
    Bug("red and blue swapped", edit=red_for_blue),
    Bug("mean and std in BGR order", edit=changed((MEAN, STD), lambda value: value[:, ::-1])),
    Bug("mean left out", edit=changed((MEAN,), np.zeros_like)),
    Bug("std left out", edit=changed((STD,), lambda value: np.full_like(value, 255))),
    Bug("scale 1/255 missing", edit=changed((MEAN, STD), lambda value: value / 255)),
    Bug("the last upsampling with align_corners", edit=partial(align_corners, False)),
    Bug("every upsampling with align_corners", edit=partial(align_corners, True)),
    Bug("argmax before upsampling", edit=argmax_first),
    Bug("mask shifted right by one pixel", wrap=partial(Wrapped, partial(shifted, 2, 1))),
    Bug("mask shifted up by one pixel", wrap=partial(Wrapped, partial(shifted, 1, -1))),
    Bug("road and sidewalk exchanged", edit=exchange(3, 4)),
    Bug("sign and fence exchanged", edit=exchange(6, 7)),
    Bug("person and cyclist exchanged", edit=exchange(9, 10)),
    *(Bug(f"batch-norm epsilon {value:g}", edit=partial(epsilon, value)) for value in (1e-4, 1e-3, 1e-2)),
    Bug("weights of the middle of the training", edit=earlier),
    *(Bug(f"float16 overflow in {block}", "fp16", edit=shared_otherwise(block)) for block in ("layer2.1", "layer3.1")),
    Bug("float16 near its end in layer1.0", "fp16", edit=shared_otherwise("layer1.0", 2**14)),
    *(Bug(f"int8: the head's input scale by {f:g}", "int8", edit=scale(FUSED, f)) for f in (0.25, 0.3, 0.5, 4)),
    *(Bug(f"int8: the first pool's scale by {f:g}", "int8", edit=scale(POOLED, f)) for f in (0.25, 0.5)),
    Bug("int8: an encoder layer's input scale by 0.25", "int8", edit=scale("relu_3", 0.25)),
    Bug("int8: the head's weight scales by 0.5", "int8", edit=scale(f"{HEAD}.weight", 0.5)),
    Bug("int8: the head's weight scale of sidewalk by 1.3", "int8",
        edit=changed((f"{HEAD}.weight_scale",), lambda value: value * np.where(np.arange(len(value)) == 4, 1.3, 1))),
    Bug("int8: the first layer's weight scales by 0.5", "int8",
        edit=scale("segmenter.network.encoder.conv1.weight", 0.5)),
    Bug("letterbox undone without its offset", pipeline=letterbox_without_offset, size=(1.5, 1)),
    Bug("the first frame's mask for all of a batch", wrap=partial(Wrapped, partial(repeated, 0))),
    Bug("the last frame's mask for all of a batch", wrap=partial(Wrapped, partial(repeated, -1))),
)  # fmt: skip
