"""Batch norm in the convolutions: the same function, and nothing folded that must not be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from kd_deploy.config.architectures import ARCHITECTURES, Arch
from kd_deploy.models.folding import fold_batchnorm
from kd_deploy.models.segmenter import build

NETWORKS: list[tuple[Arch, str, int]] = [
    *(
        (arch, "resnet18", 10 if arch == "pspnet" else 0) for arch in ARCHITECTURES
    ),  # of stages that it leaves out
    ("deeplabv3plus", "mobilenet_v2", 0),  # depthwise
    ("segformer", "mit_b0", 0),
    ("linknet", "tu-mobilenetv3_small_050", 0),  # timm's norm with an activation; transposed convolutions
    ("fpn", "tu-mixnet_s", 34),  # norms of concatenated convolutions
    ("unet", "densenet121", 62),  # norms of concatenated features
    ("unet", "mobileone_s0", 35),  # norms of a sum's terms, some of them without a convolution
]
"""With the number of norms that must stay."""


def awake(network: nn.Module) -> nn.Module:
    """In eval mode, as if trained: no norm is the identity."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                if tensor is not None:
                    nn.init.uniform_(tensor, low, high)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.no_grad()
@pytest.mark.parametrize(("arch", "encoder", "left"), NETWORKS, ids=lambda value: str(value))
def test_every_tap_is_the_networks(arch: Arch, encoder: str, left: int) -> None:
    """In double precision, so that rounding (1e-16 an operation) cannot hide a wrong factor in a hundred layers."""
    segmenter = build(arch, encoder, 5)
    awake(segmenter).double()
    side = max(64, segmenter.least)
    images = torch.randint(0, 256, (1, 3, side, side)).double()
    expected, folded = segmenter(images, None).taps, segmenter.folded()
    found = folded(images, None).taps
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert tensor.std() > 0, name
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10 * float(tensor.abs().max()))
    assert norms(folded) == left < norms(segmenter)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
def test_in_single_precision_it_rounds_no_worse(encoder: str) -> None:
    """The error against double precision, 4 times the unfolded network's at most (measured: 0.8 to 2 times)."""
    segmenter = build("deeplabv3plus", encoder, 5)
    awake(segmenter)
    images = torch.randint(0, 256, (2, 3, 64, 64)).float()
    plain, folded = segmenter(images).logits, segmenter.folded()(images).logits
    exact = segmenter.double()(images.double()).logits
    assert (folded - exact).abs().max() <= 4 * (plain - exact).abs().max()


class Toy(nn.Module):
    """A convolution and a norm, and a forward pass that the test gives."""

    def __init__(
        self, convolution: nn.Module, norm: nn.Module, forward: Callable[[Toy, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.convolution, self.norm, self.way = convolution, norm, forward

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def plain(toy: Toy, x: Tensor) -> Tensor:
    return toy.norm(toy.convolution(x))  # type: ignore[no-any-return]


@torch.no_grad()
def check(toy: Toy, *, folded: bool) -> None:
    """The same numbers after folding, with the norm or without."""
    awake(toy).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    expected = toy(x)
    fold_batchnorm(toy, lambda twin: [twin(x.to("meta"))])
    torch.testing.assert_close(toy(x), expected, rtol=1e-12, atol=1e-12)
    assert norms(toy) == (not folded)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 8, 3, bias=False),
        nn.Conv2d(4, 8, 3, groups=2, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 8, 2, stride=2),
    ],
    ids=["bias", "no-bias", "groups", "transposed"],
)
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNormAct2d])
def test_what_is_folded(convolution: nn.Conv2d, norm: type[nn.BatchNorm2d]) -> None:
    check(Toy(convolution, norm(convolution.out_channels), plain), folded=True)


def test_a_norm_without_weights_is_folded() -> None:
    check(Toy(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), plain), folded=True)


def test_a_norm_with_two_names_is_folded_under_both() -> None:
    toy = Toy(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), lambda toy, x: toy.other(toy.convolution(x)))
    toy.other = toy.norm
    check(toy, folded=True)


def test_a_transposed_convolution_in_groups_is_left() -> None:
    check(Toy(nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4), plain), folded=False)


@pytest.mark.parametrize(
    "way",
    [
        lambda toy, x: toy.norm(toy.convolution(x)) + toy.convolution(x),
        lambda toy, x: toy.norm(toy.norm(toy.convolution(x))),
        lambda toy, x: (y := toy.convolution(x)) * toy.norm(y),
        lambda toy, x: toy.norm(toy.convolution(x).relu_()),
        lambda toy, x: toy.norm(toy.convolution(x).mul_(2).view(2, 4, 6, 6)),
        lambda toy, x: toy.norm(F.conv2d(x, toy.convolution.weight * 2, toy.convolution.bias, padding=1)),
        lambda toy, x: toy.norm(F.conv2d(x, toy.convolution.weight, padding=1)),
        lambda toy, x: toy.norm(toy.convolution(x)) + toy.convolution.weight.sum(),
    ],
    ids=[
        "conv-twice",
        "norm-twice",
        "two-readers",
        "in-place",
        "view",
        "computed-weight",
        "bias-unused",
        "weight-read",
    ],
)
def test_what_is_not_theirs_alone_is_left(way: Callable[[Toy, Tensor], Tensor]) -> None:
    check(Toy(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), way), folded=False)


@torch.no_grad()
def test_a_convolution_that_is_an_output_is_left() -> None:
    toy = Toy(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), plain)

    def outputs(twin: nn.Module) -> list[Tensor]:
        between = twin.get_submodule("convolution")(torch.empty(1, 4, 6, 6, device="meta"))
        return [between, twin.get_submodule("norm")(between)]

    fold_batchnorm(toy.eval(), outputs)
    assert norms(toy) == 1


def test_statistics_of_the_batch_are_left() -> None:
    check(Toy(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), plain), folded=False)
    toy = Toy(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), plain).train()
    fold_batchnorm(toy, lambda twin: [twin(torch.empty(2, 4, 6, 6, device="meta"))])
    assert norms(toy) == 1
