"""The merged head is smp's: the same function, the same gradients, the same weights."""

from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from torch import Tensor, nn

from kd_deploy.models.segformer import FoldedDecoder, MergedDecoder
from kd_deploy.models.segmenter import Segmenter, build

ENCODERS = {"mit": [3, 0, 8, 12, 20, 32], "resnet": [3, 8, 8, 12, 20, 32]}
"""Channels from stride 1 to 32; transformers leave stride 2 out."""


@pytest.fixture(params=ENCODERS)
def channels(request: pytest.FixtureRequest) -> list[int]:
    return ENCODERS[request.param]


def pair(channels: list[int]) -> tuple[SegformerDecoder, MergedDecoder]:
    """smp's decoder and its merged twin, with a batch norm that has seen something."""
    torch.manual_seed(0)
    twins = [SegformerDecoder(channels, segmentation_channels=24) for _ in range(2)]
    norm = twins[0].fuse_stage[1]
    for tensor, low in (
        (norm.weight, 0.5),
        (norm.bias, -1.0),
        (norm.running_mean, -1.0),
        (norm.running_var, 0.5),
    ):
        nn.init.uniform_(tensor, low, 2.0)
    twins[1].load_state_dict(twins[0].state_dict())
    return twins[0], MergedDecoder(twins[1])


def features(channels: list[int], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(1)
    sizes = [(64 >> level, 96 >> level) for level in range(6)]
    return [
        torch.randn(2, c, *size, dtype=dtype, requires_grad=True)
        for c, size in zip(channels, sizes, strict=True)
    ]


def run(decoder: nn.Module, channels: list[int], dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    """The output, and the gradients of every weight and every feature that the decoder reads."""
    inputs = features(channels, dtype)
    output = decoder.to(dtype)(inputs)
    output.backward(torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(dtype))
    gradients = {name: p.grad for name, p in decoder.named_parameters()}
    gradients |= {f"stage{i}": x.grad for i, x in enumerate(inputs) if i > 0 and x.shape[1]}
    assert all(gradient is not None for gradient in gradients.values())
    return output.detach(), {name: gradient for name, gradient in gradients.items() if gradient is not None}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_outputs_and_gradients_are_smps(channels: list[int], training: bool) -> None:
    theirs, ours = (decoder.train(training) for decoder in pair(channels))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    (expected, wanted), (output, gradients) = (
        run(decoder, channels, torch.float32) for decoder in (theirs, ours)
    )
    assert (output - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert gradients.keys() == wanted.keys()
    together = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm()
    difference = torch.cat([(gradients[name] - wanted[name]).flatten() for name in wanted]).norm()
    assert difference <= 2e-5 * together
    for key, value in theirs.state_dict().items():  # the running statistics too
        torch.testing.assert_close(ours.state_dict()[key], value)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_every_gradient_is_smps_in_double_precision(channels: list[int], training: bool) -> None:
    theirs, ours = (decoder.train(training) for decoder in pair(channels))
    (expected, wanted), (output, gradients) = (
        run(decoder, channels, torch.float64) for decoder in (theirs, ours)
    )
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            gradients[name], gradient, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


@torch.no_grad()
def test_bf16_is_as_near_as_smps(channels: list[int]) -> None:
    theirs, ours = (decoder.eval() for decoder in pair(channels))
    exact = theirs(features(channels))
    with torch.autocast("cpu", torch.bfloat16):
        far, near = (
            (decoder(features(channels)).float() - exact).square().mean() for decoder in (theirs, ours)
        )
    assert 0 < near <= 1.5 * far


def test_bf16_learns(channels: list[int]) -> None:
    _, ours = pair(channels)
    with torch.autocast("cpu", torch.bfloat16):
        ours(features(channels)).float().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())


@torch.no_grad()
def test_folding_changes_nothing_but_the_keys(channels: list[int]) -> None:
    _, ours = (decoder.eval() for decoder in pair(channels))
    folded = FoldedDecoder(ours)
    expected = ours(features(channels))
    assert (folded(features(channels)) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


@torch.no_grad()
def test_every_segformer_has_it() -> None:
    torch.manual_seed(0)
    segmenter = build("segformer", "mit_b0", 5).eval()
    assert isinstance(segmenter.network.decoder, MergedDecoder)
    theirs = smp.Segformer("mit_b0", encoder_weights=None, classes=5, upsampling=1).eval()
    theirs.load_state_dict(segmenter.network.state_dict())
    images = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(segmenter.network(images), theirs(images), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_folded_segmenter_is_a_copy() -> None:
    torch.manual_seed(0)
    segmenter: Segmenter = build("segformer", "mit_b0", 5)
    folded = segmenter.folded()
    images = 255 * torch.rand(1, 3, 50, 70)
    assert isinstance(segmenter.network.decoder, MergedDecoder)
    assert segmenter.training
    assert not folded.training
    assert torch.equal(folded.predict(images), segmenter.eval().predict(images))
    segmenter.network.segmentation_head[0].bias.fill_(float("nan"))
    assert folded(torch.zeros(1, 3, 32, 32)).logits.isfinite().all()
