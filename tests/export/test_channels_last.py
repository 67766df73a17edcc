"""The graph in the order that CPUs like: the same masks, and no upsampling channels first behind the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import library

from kd_deploy.config.architectures import Arch
from kd_deploy.export.channels_last import ChannelsLastGraph, enlarge
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.mix_transformer import rewritten
from kd_deploy.export.onnx_graph import Ends, write_onnx
from kd_deploy.models.segmenter import Segmenter
from tests.export.conftest import speaking

SIZE = (70, 100)  # no multiple of 16 or 32: padded inside, and cut again
Pair = tuple[DeployedGraph, Path]


def frames(batch: int) -> NDArray[np.uint8]:
    return np.random.default_rng(batch).integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)


@torch.no_grad()
def masks(segmenter: Segmenter, batch: int) -> list[NDArray[np.uint8]]:
    folded, frame = rewritten(segmenter), torch.from_numpy(frames(batch))
    return [graph(folded)(frame).numpy() for graph in (DeployedGraph, ChannelsLastGraph)]


@pytest.mark.parametrize("batch", [1, 3])
def test_the_students_masks_stay(segmenter: Segmenter, batch: int) -> None:
    expected, found = masks(segmenter, batch)
    assert found.shape == (batch, *SIZE)
    assert found.dtype == np.uint8
    assert (found == expected).mean() > 0.999
    assert len(np.unique(expected)) > 3


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("unet", "mobilenet_v2"),  # its logits have the picture's size
        ("pspnet", "resnet18"),  # its logits are at stride 8
        ("segformer", "resnet18"),  # whose first stage is finer than the logits
    ],
)
def test_other_networks_masks_stay(arch: Arch, encoder: str) -> None:
    expected, found = masks(speaking(arch, encoder), 2)
    assert (found == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1


@pytest.fixture(scope="module", params=["deeplabv3plus", "segformer", "unet"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Each on ResNet-18, which is traced in a second."""
    folded = rewritten(speaking(request.param, "resnet18"))
    file = tmp_path_factory.mktemp("channels-last") / "model.onnx"
    write_onnx(ChannelsLastGraph(folded), Ends(SIZE), file, {})
    return DeployedGraph(folded), file


@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_gives_the_masks(exported: Pair, batch: int) -> None:
    graph, file = exported
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(["mask"], {"frame": frames(batch)})
    with torch.no_grad():
        expected = graph(torch.from_numpy(frames(batch))).numpy()
    assert (found == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1


def scales(model: onnx.ModelProto) -> list[list[float]]:
    """Of every Resize, in the graph's order; empty for one that is given sizes, as torch's own are."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            constants[node.output[0]] = (
                numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)
            )
    constants[""] = np.array([])
    return [constants[n.input[2]].tolist() for n in model.graph.node if n.op_type == "Resize"]


def test_what_is_behind_the_encoder_has_the_channels_last(exported: Pair) -> None:
    graph, file = exported
    model = onnx.load(file)
    found, arch = scales(model), type(graph.segmenter.network).__name__
    if arch == "Unet":  # its decoder enlarges nearest pixels, and there is nothing behind it
        assert found
        assert all(scale[:2] in ([], [1, 1]) for scale in found)
    elif arch == "Segformer":
        assert found == [[1, f, f, 1] for f in (8, 4, 2, 4)]
    else:
        assert found[-1] == [1, 4, 4, 1]
        assert all(scale[:2] in ([], [1, 1]) for scale in found[:-1])  # the decoder's own
    (argmax,) = [node for node in model.graph.node if node.op_type == "ArgMax"]
    assert {a.name: a.i for a in argmax.attribute}["axis"] in (3, -1)


def test_enlarging_is_bilinear_of_the_last_but_one_axes() -> None:
    x = torch.rand(2, 3, 5, 4)
    y = enlarge(x, 2)
    expected = torch.nn.functional.interpolate(x.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
    assert torch.equal(y, expected.permute(0, 2, 3, 1))
    assert y.is_contiguous()
    library.opcheck(enlarge, (x, 2), test_utils=("test_schema", "test_faketensor"))
