"""Half precision: float32 where values overflow or masks suffer and nowhere else, in PyTorch and in the ONNX file."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from kd_deploy.export import half
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.half import DTYPES, MIN_AGREEMENT, MIN_FRAMES, Half, HalfReport, make_half
from kd_deploy.export.onnx_graph import BF16_OPSET, OPSET, Ends, write_onnx
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.errors import UserError

SIZE = (64, 96)
NEVER_HALF = 100
"""Numbers that are float32 in every graph: the normalisation's, and those that ONNX wants so."""


def drawn(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 12, 3), dtype=np.uint8)
    return [cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_CUBIC) for picture in coarse]


FRAMES = drawn(MIN_FRAMES)


def masks(graph: DeployedGraph) -> NDArray[np.uint8]:
    with torch.no_grad():
        found: NDArray[np.uint8] = graph(torch.from_numpy(np.stack(FRAMES))).numpy()
    return found


def scale(module: nn.Module, factor: float, rows: slice = slice(None)) -> None:
    with torch.no_grad():
        module.weight[rows] *= factor
        if module.bias is not None:
            module.bias[rows] *= factor


def overflowing(segmenter: Segmenter, factor: float = 2.0**24) -> tuple[Segmenter, str]:
    """The same function with values of the order of `factor` in the middle of the part that is named."""
    segmenter = deepcopy(segmenter)
    network = segmenter.network
    if hasattr(network.encoder, "block3"):  # queries up, keys down
        attention = network.encoder.block3[0].attn
        scale(attention.q, factor)
        scale(attention.kv, 1 / factor, slice(attention.dim))
        return segmenter, "encoder.block3"
    scale(network.decoder.aspp[0].project[1], factor)  # a batch norm, then a ReLU, then
    scale(network.decoder.aspp[1][0], 1 / factor)
    return segmenter, "decoder.aspp"


def weights(segmenter: Segmenter) -> Counter[torch.dtype]:
    """How many numbers of each type a network has."""
    count: Counter[torch.dtype] = Counter()
    for parameter in segmenter.parameters():
        count[parameter.dtype] += parameter.numel()
    return count


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_network_that_needs_no_float32_gets_none(segmenter: Segmenter, precision: Half) -> None:
    graph, report = make_half(segmenter, FRAMES, precision, min_agreement=97)
    assert report.islands == ()
    assert report.frames == MIN_FRAMES
    assert str(report).endswith("no part needs float32")
    assert set(weights(graph.segmenter)) == {DTYPES[precision]}
    assert graph.segmenter.mean.dtype == torch.float32
    assert set(weights(segmenter)) == {torch.float32}  # as it was
    expected = masks(DeployedGraph(segmenter).eval())
    assert len(np.unique(expected)) > 1
    # PyTorch's own half kernels sum in another order than the measurement.
    assert 100 * (masks(graph) == expected).mean() == pytest.approx(report.agreement, abs=0.5)
    assert 97 <= report.agreement < 100


Exported = tuple[Segmenter, str, DeployedGraph, HalfReport, Path]


@pytest.fixture(scope="module")
def exported(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Both students with a part that overflows."""
    network, block = overflowing(segmenter)
    graph, report = make_half(network, FRAMES, "fp16", min_agreement=99)
    file = tmp_path_factory.mktemp("half") / "model.onnx"
    write_onnx(graph, Ends(SIZE), file, {})
    return segmenter, block, graph, report, file


def test_an_overflow_makes_exactly_that_part_float32(exported: Exported) -> None:
    segmenter, block, graph, report, _ = exported
    assert [island.block for island in report.islands] == [block]
    assert "fp16 ends at 6.55e+04" in report.islands[0].reason
    assert report.largest[block] > 65504 / 4
    assert [name for name, value in report.largest.items() if value > 65504 / 4] == [block]
    part = graph.segmenter.network.get_submodule(block)
    assert {p.dtype for p in part.parameters()} == {torch.float32}
    assert weights(graph.segmenter)[torch.float32] == sum(p.numel() for p in part.parameters())
    agreement = (masks(graph) == masks(DeployedGraph(segmenter).eval())).mean()
    assert agreement > 0.99


def test_the_exported_types(exported: Exported) -> None:
    _, _, graph, _, file = exported
    model = onnx.load(file)
    assert [entry.version for entry in model.opset_import] == [OPSET]
    count: Counter[Any] = Counter()
    for tensor in model.graph.initializer:
        count[tensor.data_type] += int(np.prod(tensor.dims))
    expected = weights(graph.segmenter)
    # Not to the last number: the exporter folds what is left of batch norms.
    assert count[onnx.TensorProto.FLOAT16] == pytest.approx(expected[torch.float16], rel=0.03)
    assert count[onnx.TensorProto.FLOAT] == pytest.approx(expected[torch.float32], rel=0.03, abs=NEVER_HALF)
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert len(norms) == sum(isinstance(module, nn.LayerNorm) for module in graph.segmenter.modules())
    assert {a.i for node in norms for a in node.attribute if a.name == "stash_type"} <= {
        onnx.TensorProto.FLOAT
    }


def test_onnx_runtime_gives_the_masks(exported: Exported) -> None:
    _, _, graph, _, file = exported
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(["mask"], {"frame": np.stack(FRAMES)})
    assert (found == masks(graph)).mean() > 0.995


def test_a_value_that_only_float32_holds_reaches_the_next_part() -> None:
    torch.manual_seed(0)
    segmenter = build("deeplabv3plus", "mobilenet_v2", 5).eval()
    decoder, factor = segmenter.network.decoder, 2.0**24
    scale(decoder.block1[1], factor)
    with torch.no_grad():
        decoder.block2[0][0].weight[-decoder.block1[1].num_features :] /= factor
    graph, report = make_half(segmenter, FRAMES, "fp16", min_agreement=99)
    assert [island.block for island in report.islands] == ["decoder.block1", "decoder.block2"]
    assert (masks(graph) == masks(DeployedGraph(segmenter))).mean() > 0.99


def test_the_part_that_costs_the_masks_is_found_first() -> None:
    torch.manual_seed(0)
    segmenter = build("segformer", "mit_b0", 5).eval()
    with torch.no_grad():  # the layer norm behind it takes the mean away, which half precision cannot
        segmenter.network.encoder.patch_embed3.proj.bias += 8000
    _, without = make_half(segmenter, FRAMES, "fp16", min_agreement=0)
    assert without.islands == ()
    assert without.agreement < 95
    _, report = make_half(segmenter, FRAMES, "fp16", min_agreement=98)
    (island,) = report.islands
    assert island.block == "encoder.patch_embed3"
    assert f"go from {without.agreement:.3f} to {report.agreement:.3f} %" in island.reason
    assert report.agreement == island.agreement >= 98
    assert report.to_json()["islands"][0]["block"] == "encoder.patch_embed3"


def test_bf16_is_valid_onnx(segmenter: Segmenter, tmp_path: Path) -> None:
    """ONNX Runtime has no bfloat16 convolution on the CPU, so that only PyTorch can say what the file computes."""
    graph, _ = make_half(segmenter, FRAMES, "bf16", min_agreement=97)
    write_onnx(graph, Ends(SIZE), tmp_path / "model.onnx", {})
    model = onnx.load(tmp_path / "model.onnx")
    assert [entry.version for entry in model.opset_import] == [BF16_OPSET]
    kinds = {tensor.data_type for tensor in model.graph.initializer if np.prod(tensor.dims) > NEVER_HALF}
    assert kinds == {onnx.TensorProto.BFLOAT16}


def test_too_few_frames(segmenter: Segmenter) -> None:
    with pytest.raises(UserError, match="3 calibration frames are too few, it takes 4"):
        make_half(segmenter, FRAMES[:3], "fp16")


def test_a_limit_that_float32_alone_holds(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"all": ["encoder", "decoder", "segmentation_head"], "upsampling": []}
    monkeypatch.setattr(half, "find_blocks", lambda *_: parts)
    for network, limit in ((segmenter, 100.1), (overflowing(segmenter)[0], MIN_AGREEMENT)):
        with pytest.raises(
            UserError, match=r"no part of this network holds 100\.1|99\.5 % of float32's"
        ) as error:
            make_half(network, FRAMES, "fp16", min_agreement=limit)
        assert "\n" not in str(error.value)
