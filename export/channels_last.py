"""The deployed graph with a pixel's channels side by side behind the encoder: for CPUs, the same masks for less time.

ONNX Runtime's CPU kernel enlarges channels-last tensors three times as fast as channels-first ones, and an argmax over
neighbours reads memory in order (docs/export.md has the timings). TensorRT and CUDA want channels first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from onnxscript import opset18 as op
from torch import Tensor, library, nn

from kd_deploy.export.attention import TRANSLATIONS as ATTENTION
from kd_deploy.export.attention import fused_attend
from kd_deploy.export.graph import rgb
from kd_deploy.export.mix_transformer import PixelEncoder
from kd_deploy.models.segformer import FoldedDecoder
from kd_deploy.models.segmenter import Segmenter


@library.custom_op("kd_deploy::enlarge", mutates_args=())
def enlarge(x: Tensor, factor: int) -> Tensor:
    """(B, h, w, C) -> (B, h * factor, w * factor, C), bilinear with align_corners=False.

    An operator of its own, since torch's interpolation would be exported channels first.
    """
    nchw = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=factor, mode="bilinear", align_corners=False)
    return nchw.permute(0, 2, 3, 1).contiguous()


@enlarge.register_fake
def _(x: Tensor, factor: int) -> Tensor:
    batch, height, width, channels = x.shape
    return x.new_empty(batch, height * factor, width * factor, channels)


def _resize(x: Any, factor: int) -> Any:
    scales = op.Constant(value_floats=[1.0, float(factor), float(factor), 1.0])
    return op.Resize(x, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")


TRANSLATIONS: dict[Any, Any] = {torch.ops.kd_deploy.enlarge.default: _resize, **ATTENTION}
"""What torch.onnx.export is told of our operators."""


class ChannelsLastGraph(nn.Module):
    """`DeployedGraph` in another order: `frame` (N, H, W, 3) uint8 BGR -> `mask` (N, H, W) uint8.

    Args:
        segmenter: folded, in eval mode.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        encoder, decoder = segmenter.network.encoder, segmenter.network.decoder
        self.encoder = encoder.with_attention(fused_attend) if isinstance(encoder, PixelEncoder) else encoder
        self.head = (
            ChannelsLastHead(decoder, segmenter.network.segmentation_head[0])
            if isinstance(decoder, FoldedDecoder)
            else None
        )

    def forward(self, frame: Tensor) -> Tensor:
        height, width = frame.shape[1:3]
        x = self.segmenter.prepared(rgb(frame))
        if self.head is None:
            decoded = self.segmenter.network.decoder(self.encoder(x))
            logits = self.segmenter.network.segmentation_head(decoded).permute(0, 2, 3, 1)
        else:
            logits = self.head(self.encoder(x))
        if (factor := x.shape[2] // logits.shape[1]) > 1:
            logits = enlarge(logits, factor)
        mask: Tensor = logits[:, :height, :width].argmax(dim=3)
        return mask.to(torch.uint8)


class ChannelsLastHead(nn.Module):
    """`FoldedDecoder` and the classifier behind it as matrix products over pixels."""

    def __init__(self, decoder: FoldedDecoder, classifier: nn.Conv2d) -> None:
        super().__init__()
        self.activation = decoder.activation
        self.levels = nn.ModuleList(map(_linear, decoder.weights, decoder.biases))
        self.classifier = _linear(classifier.weight, classifier.bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, H / 4, W / 4, C) of an encoder's features, the first of which is the picture (B, 3, H, W)."""
        fine = features[0].shape[2] // 4
        total: Tensor | None = None
        for x, level in zip(reversed(features), self.levels, strict=False):
            if (
                x.shape[2] > fine
            ):  # a CNN's first stage, at stride 2: bilinear at one half is the mean of 2 x 2
                x = F.avg_pool2d(x, 2)
            y = level(x.permute(0, 2, 3, 1))
            if (factor := fine // x.shape[2]) > 1:
                y = enlarge(y, factor)
            total = y if total is None else total + y
        logits: Tensor = self.classifier(self.activation(total))
        return logits


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A 1x1 convolution, (out, in, 1, 1) and (out,), as a layer over the last axis."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight.flatten(1))
        if bias is not None:
            layer.bias.copy_(bias)
    return layer
