"""The parts of a network: every weight in one of them, the same on any architecture; and the largest values in each."""

from __future__ import annotations

import math

import pytest
import torch

from kd_deploy.config.architectures import Arch
from kd_deploy.export.blocks import HEAD, UPSAMPLING, find_blocks, find_peaks
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.half import type_blocks
from kd_deploy.models.segmenter import Segmenter, build

FRAME = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def made(arch: Arch, encoder: str) -> Segmenter:
    torch.manual_seed(0)
    return build(arch, encoder, 5).folded()


@pytest.mark.parametrize(
    ("arch", "encoder", "expected"),
    [
        ("segformer", "mit_b0", ["encoder.patch_embed1", "encoder.block4", "decoder"]),
        ("deeplabv3plus", "mobilenet_v2", ["encoder.features.18", "decoder.aspp", "decoder.block2"]),
        ("unet", "resnet18", ["encoder.conv1", "encoder.layer4", "decoder.blocks.0"]),
        ("pspnet", "resnet18", ["encoder.layer2", "decoder.psp"]),  # and two stages that nothing reads
        ("upernet", "tu-convnext_atto", ["encoder.model.stages_3", "decoder.fusion_block"]),
    ],
)
def test_every_weight_that_is_used_has_one_part(arch: Arch, encoder: str, expected: list[str]) -> None:
    segmenter = made(arch, encoder)
    blocks = find_blocks(segmenter, FRAME)
    assert set(expected) < set(blocks)
    assert list(blocks)[-2:] == [HEAD, UPSAMPLING]
    modules = [segmenter.network.get_submodule(member) for members in blocks.values() for member in members]
    held = [name for module in modules for name in map(id, module.parameters())]
    assert len(held) == len(set(held))
    # In types that alternate every tensor passes a border, and a weight left out would meet a tensor of another type.
    for islands in (list(blocks)[::2], list(blocks)[1::2]):
        typed = type_blocks(segmenter, blocks, torch.bfloat16, islands)
        with torch.no_grad():
            assert DeployedGraph(typed)(FRAME).shape == (1, 64, 96)


def test_peaks_are_each_parts_own() -> None:
    segmenter = made("deeplabv3plus", "resnet18")
    blocks = find_blocks(segmenter, FRAME)
    peaks = find_peaks(segmenter, blocks, [FRAME])
    assert list(peaks) == list(blocks)
    assert max(peak.value for peak in peaks.values()) < 1000
    with torch.no_grad():
        segmenter.network.get_submodule("decoder.block2.0.0").weight[
            3
        ] = -5000  # and a ReLU, and a small weight
    peaks = find_peaks(segmenter, blocks, [FRAME])
    assert [name for name in blocks if peaks[name].value >= 5000] == ["decoder.block2"]


def test_a_group_norm_squares() -> None:
    segmenter = made("fpn", "resnet18")
    peak = find_peaks(segmenter, find_blocks(segmenter, FRAME), [FRAME])["decoder.seg_blocks"]
    assert "group_norm" in peak.operator


def test_what_is_no_number_is_the_largest() -> None:
    segmenter = made("deeplabv3plus", "resnet18")
    with torch.no_grad():
        segmenter.network.get_submodule("encoder.layer2.0.conv2").weight[0, 0, 0, 0] = math.nan
    peaks = find_peaks(segmenter, find_blocks(segmenter, FRAME), [FRAME, FRAME])
    assert not math.isnan(peaks["encoder.layer1"].value)
    assert math.isnan(peaks["encoder.layer2"].value)
