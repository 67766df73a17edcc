"""SegFormer's encoder, a pixel's channels side by side: smp's own features."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from segmentation_models_pytorch.encoders import get_encoder
from torch import library, nn

from kd_deploy.export.attention import DOMAIN, fused_attend
from kd_deploy.export.channels_last import ChannelsLastGraph
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.mix_transformer import PixelEncoder, attend, rewritten
from kd_deploy.export.onnx_graph import Ends, write_onnx
from kd_deploy.models.segmenter import build


def spoken(module: nn.Module) -> nn.Module:
    """Every parameter random: smp begins with biases of 0 and norms of 1, which would hide a lost one."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


@pytest.mark.parametrize(("name", "depth"), [("mit_b0", 5), ("mit_b1", 5), ("mit_b0", 3)])
@torch.no_grad()
def test_its_features_are_smps(name: str, depth: int) -> None:
    encoder = spoken(get_encoder(name, depth=depth, weights=None))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    picture = torch.randn(2, 3, 64, 96)
    expected, found = encoder(picture), PixelEncoder(encoder)(picture)
    assert [f.shape for f in found] == [f.shape for f in expected]
    for ours, smps in zip(found[2:], expected[2:], strict=True):
        torch.testing.assert_close(ours, smps, rtol=1e-4, atol=1e-4)
        assert smps.std() > 0.01
    assert all((value == before[key]).all() for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_attention_is_torchs(heads: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 12, 40), torch.randn(2, 7, 40), torch.randn(2, 7, 40)
    by_head = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(*by_head).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(q, k, v, heads), expected)
    torch.testing.assert_close(fused_attend(q, k, v, heads), expected)


def test_our_operator_keeps_torchs_rules() -> None:
    q, k = torch.randn(2, 12, 40), torch.randn(2, 7, 40)
    library.opcheck(fused_attend, (q, k, k.clone(), 5))


def test_another_encoder_stays() -> None:
    segmenter = build("segformer", "resnet18", 5).eval()
    assert type(rewritten(segmenter).network.encoder) is type(segmenter.network.encoder)


def test_only_the_form_for_cpus_has_microsofts_operator(tmp_path: Path) -> None:
    segmenter = build("segformer", "mit_b0", 5)
    spoken(segmenter.network.encoder)
    folded, ends = rewritten(segmenter.eval()), Ends((64, 96))
    nodes = {}
    for graph in (DeployedGraph(folded), ChannelsLastGraph(folded)):
        write_onnx(graph, ends, tmp_path / "model.onnx", {})
        nodes[type(graph)] = Counter(
            (node.domain, node.op_type) for node in onnx.load(tmp_path / "model.onnx").graph.node
        )
    assert DOMAIN not in {domain for domain, _ in nodes[DeployedGraph]}
    assert nodes[ChannelsLastGraph][DOMAIN, "MultiHeadAttention"] == 8  # two blocks in each of four stages
    assert ("", "Softmax") not in nodes[ChannelsLastGraph]
    assert nodes[DeployedGraph]["", "Softmax"] == 8
