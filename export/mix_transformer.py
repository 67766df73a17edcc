"""SegFormer's encoder for inference: a pixel's channels stay side by side from block to block.

smp's Mix Transformer turns every block's pixels into a picture and back, and its feed-forward layers turn four times as
many channels. Here pictures are (B, H, W, C) all along; what needs a picture (B, C, H, W) is given a view of it, the
feed-forward layers are the 1x1 convolutions that they are, and keys and values are layers of their own. The same
arithmetic on the same weights: in ONNX 290 nodes instead of 428, of which 60 instead of 97 move memory.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from segmentation_models_pytorch.encoders.mix_transformer import (
    Attention,
    Block,
    MixVisionTransformerEncoder,
    Mlp,
    OverlapPatchEmbed,
)
from torch import Tensor, nn

from kd_deploy.models.segmenter import Segmenter

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Queries (B, N, C), keys and values (B, M, C), and the number of heads, to (B, N, C)."""


def rewritten(segmenter: Segmenter) -> Segmenter:
    """A folded copy whose encoder, where it is smp's Mix Transformer, is a `PixelEncoder`: the same masks for less."""
    folded = segmenter.folded()
    if isinstance(folded.network.encoder, MixVisionTransformerEncoder):
        folded.network.encoder = PixelEncoder(folded.network.encoder)
    return folded


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of every head, d channels each (Vaswani et al., NeurIPS 2017, eq. 1)."""
    batch, queries, channels = q.shape
    q, k, v = (x.view(batch, -1, heads, channels // heads).transpose(1, 2) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    out: Tensor = (scores.softmax(dim=3) @ v).transpose(1, 2).reshape(batch, queries, channels)
    return out


class PixelEncoder(nn.Module):
    """smp's `MixVisionTransformerEncoder`: its features, for inference alone.

    Args:
        encoder: in eval mode; it is left as it is, its weights are shared.
    """

    def __init__(self, encoder: MixVisionTransformerEncoder) -> None:
        super().__init__()
        self.out_channels, self.output_stride = encoder.out_channels, encoder.output_stride
        stages = range(1, encoder._depth)
        for i in stages:  # under smp's names
            embed, norm = getattr(encoder, f"patch_embed{i}"), getattr(encoder, f"norm{i}")
            setattr(self, f"patch_embed{i}", PixelEmbed(embed))
            setattr(self, f"block{i}", nn.Sequential(*map(PixelBlock, getattr(encoder, f"block{i}"))))
            setattr(self, f"norm{i}", _norm(norm))
        self._stages = len(stages)

    def with_attention(self, attend: Attend) -> PixelEncoder:
        """A copy whose attention is computed by `attend`."""
        copy = deepcopy(self)
        for module in copy.modules():
            if isinstance(module, PixelAttention):
                module.attend = attend
        return copy

    def forward(self, x: Tensor) -> list[Tensor]:
        """The picture (B, 3, H, W), an empty feature at stride 2, and the stages from stride 4 on, (B, C, h, w)."""
        batch, _, height, width = x.shape
        features = [x, x.new_empty(batch, 0, height // 2, width // 2)]
        for i in range(1, self._stages + 1):
            pixels = getattr(self, f"block{i}")(getattr(self, f"patch_embed{i}")(x))
            x = getattr(self, f"norm{i}")(pixels).permute(0, 3, 1, 2)
            features.append(x)
        return features


class PixelEmbed(nn.Module):
    """A picture (B, C, H, W) to the pixels (B, h, w, D) of the next stage."""

    def __init__(self, embed: OverlapPatchEmbed) -> None:
        super().__init__()
        self.proj, self.norm = embed.proj, _norm(embed.norm)

    def forward(self, x: Tensor) -> Tensor:
        pixels: Tensor = self.norm(_pixels(self.proj(x)))
        return pixels


class PixelBlock(nn.Module):
    """Attention and feed-forward layers, each added to the pixels (B, H, W, C) that it was given."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.attn = _norm(block.norm1), PixelAttention(block.attn)
        self.norm2, self.mlp = _norm(block.norm2), PixelMlp(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PixelAttention(nn.Module):
    """Every pixel asks the pixels of a picture that is `sr_ratio` times coarser."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attend: Attend = attend
        self.heads = attention.num_heads
        self.q, self.proj = attention.q, attention.proj
        self.k, self.v = _halves(attention.kv)
        self.sr = attention.sr if attention.sr_ratio > 1 else None
        self.norm = _norm(attention.norm) if attention.sr_ratio > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        coarse = x
        if self.sr is not None and self.norm is not None:
            coarse = self.norm(_pixels(self.sr(x.permute(0, 3, 1, 2))))
        q, k, v = (layer(y).flatten(1, 2) for layer, y in ((self.q, x), (self.k, coarse), (self.v, coarse)))
        out: Tensor = self.proj(self.attend(q, k, v, self.heads).view(x.shape))
        return out


class PixelMlp(nn.Module):
    """1x1 convolution, depthwise 3x3, GELU, 1x1 convolution."""

    def __init__(self, mlp: Mlp) -> None:
        super().__init__()
        self.fc1, self.fc2 = _convolution(mlp.fc1), _convolution(mlp.fc2)
        self.dwconv, self.act = mlp.dwconv.dwconv, mlp.act

    def forward(self, x: Tensor) -> Tensor:
        return _pixels(self.fc2(self.act(self.dwconv(self.fc1(x.permute(0, 3, 1, 2))))))


def _pixels(picture: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C) by way of (B, C, H W), which OpenVINO turns faster (0.97 of a frame's time)."""
    batch, channels, height, width = picture.shape
    return picture.flatten(2).transpose(1, 2).reshape(batch, height, width, channels)


def _norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """smp's layer norm without its way round pictures."""
    layer = nn.LayerNorm(norm.normalized_shape, norm.eps)
    layer.weight, layer.bias = norm.weight, norm.bias
    return layer


def _halves(layer: nn.Linear) -> tuple[nn.Linear, nn.Linear]:
    """Keys and values, which smp computes in one layer, each from its own."""
    halves = []
    for part, weight in enumerate(layer.weight.detach().chunk(2)):
        half = nn.Linear(layer.in_features, len(weight), bias=layer.bias is not None)
        half.weight = nn.Parameter(weight.clone())
        if layer.bias is not None:
            half.bias = nn.Parameter(layer.bias.detach().chunk(2)[part].clone())
        halves.append(half)
    return halves[0], halves[1]


def _convolution(layer: nn.Linear) -> nn.Conv2d:
    convolution = nn.Conv2d(layer.in_features, layer.out_features, 1)
    convolution.weight = nn.Parameter(layer.weight.detach()[..., None, None].clone())
    convolution.bias = nn.Parameter(layer.bias.detach().clone())
    return convolution
