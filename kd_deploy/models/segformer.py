"""SegFormer's head with its linear layers multiplied out: the same function of the same weights, for less work."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from torch import Tensor, nn


class MergedDecoder(nn.Module):
    """Takes over the layers of smp's decoder, and with them its `state_dict` key for key.

    smp projects every stage to C channels, upsamples, concatenates and fuses (Xie et al., SegFormer, NeurIPS
    2021, eq. 4): fuse(concat_i(up(P_i x_i + b_i))). All of that is linear, 1x1 convolutions work pixel by pixel
    and bilinear upsampling channel by channel with weights that sum to 1. With the fuse convolution cut into a
    block W_i for each stage it is therefore

        sum_i up((W_i P_i) x_i + W_i b_i):

    the matrices meet before they meet the pixels, and nothing of 4 C channels is ever made.
    """

    def __init__(self, decoder: SegformerDecoder) -> None:
        super().__init__()
        self.mlp_stage = decoder.mlp_stage  # deepest first
        self.fuse_stage = decoder.fuse_stage

    def convolutions(self) -> list[tuple[Tensor, Tensor]]:
        """W_i P_i and W_i b_i of every stage, deepest first: (C, C_i, 1, 1) and (C,)."""
        blocks = self.fuse_stage[0].weight.flatten(1).chunk(len(self.mlp_stage), dim=1)
        layers = [stage.linear for stage in self.mlp_stage]
        pairs = zip(blocks, layers, strict=True)
        return [((w @ layer.weight)[..., None, None], w @ layer.bias) for w, layer in pairs]

    def forward(self, features: list[Tensor]) -> Tensor:
        """(B, C, H / 4, W / 4) of an encoder's features, the first of which is the picture (B, 3, H, W)."""
        _, norm, activation = self.fuse_stage
        decoded: Tensor = activation(norm(_upsampled_sum(features, self.convolutions())))
        return decoded


class FoldedDecoder(nn.Module):
    """A `MergedDecoder` for inference alone: plain convolutions, with the batch norm in them.

    Exporters keep the products of weights as nodes; quantisation wants convolutions whose weights are constants.
    """

    def __init__(self, decoder: MergedDecoder) -> None:
        super().__init__()
        _, norm, self.activation = decoder.fuse_stage
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        with torch.no_grad():
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            for weight, bias in decoder.convolutions():
                self.weights.append(nn.Parameter(scale.view(-1, 1, 1, 1) * weight))
                self.biases.append(nn.Parameter(scale * bias))
            self.biases[0] += norm.bias - scale * norm.running_mean

    def forward(self, features: list[Tensor]) -> Tensor:
        decoded: Tensor = self.activation(
            _upsampled_sum(features, zip(self.weights, self.biases, strict=True))
        )
        return decoded


def _upsampled_sum(features: list[Tensor], convolutions: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The 1x1 convolutions of the stages, deepest first, brought to stride 4 and added."""
    size = [side // 4 for side in features[0].shape[-2:]]
    total: Tensor | None = None
    for x, (weight, bias) in zip(reversed(features), convolutions, strict=False):
        x = F.conv2d(x, weight, bias)
        if x.device.type == "cpu":
            # Bilinear upsampling there is many times faster where the channels of a pixel lie together.
            x = x.contiguous(memory_format=torch.channels_last)
        if list(x.shape[-2:]) != size:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        total = x if total is None else total + x
    assert total is not None  # an encoder has stages
    return total
