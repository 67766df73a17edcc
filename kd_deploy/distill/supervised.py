"""The supervised loss: cross-entropy, with class weights, hard pixels alone, and an auxiliary head as options."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_deploy.config.terms import Ohem
from kd_deploy.runtime.frames import IGNORE


def labelled_pixels(
    labels: Tensor, class_weights: Tensor | None = None, *, ignore_index: int = IGNORE
) -> Tensor:
    """What the sum over the pixels is divided by, a scalar: their number, or the sum of their classes' weights."""
    return _weights(labels, labels != ignore_index, class_weights).sum()


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    labelled: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    ohem: Ohem | None = None,
    ignore_index: int = IGNORE,
) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; exactly 0 where none is left.

    Args:
        logits: (B, C, h, w), upsampled bilinearly (align_corners=False) to the labels.
        labels: (B, H, W) integer.
        labelled: `labelled_pixels` to divide by, where these labels are a share of a batch; None: their own.
        class_weights: (C,), a pixel's weight by its class, in the sum and in what it is divided by.
        ohem: only the hard pixels count (online hard example mining, Shrivastava et al., CVPR 2016), and the mean
            is over them alone, whatever `labelled` says: a share of a batch picks its own.
        ignore_index: the label that counts nowhere.
    """
    full = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    losses = F.cross_entropy(full, labels.long(), ignore_index=ignore_index, reduction="none")
    counted = labels != ignore_index
    if ohem is not None:
        counted &= _hard(losses.detach(), counted, ohem)
    weights = _weights(labels, counted, class_weights)
    total = weights.sum() if labelled is None or ohem is not None else labelled
    return (losses * weights).sum() / total.clamp(min=1e-6)


def _weights(labels: Tensor, counted: Tensor, class_weights: Tensor | None) -> Tensor:
    """Of each pixel, (B, H, W): its class's weight, or 1; 0 where it does not count."""
    if class_weights is None:
        return counted.float()
    return class_weights[torch.where(counted, labels, 0).long()].where(counted, 0.0)


def _hard(losses: Tensor, known: Tensor, ohem: Ohem) -> Tensor:
    """The pixels whose own class has less than the threshold of probability, and the hardest ones to make up the
    least share of the known ones: (B, H, W) bool."""
    ranked = losses.where(known, -1.0).flatten().sort(descending=True).values
    last = (ohem.keep * known.sum()).ceil().long().clamp(min=1) - 1
    return losses >= ranked.gather(0, last.view(1)).clamp(max=-math.log(ohem.threshold))


class AuxiliaryHead(nn.Module):
    """Logits from a stage of the encoder: a 3 x 3 convolution, norm, ReLU, dropout and a 1 x 1 convolution.

    It is what PSPNet and DeepLabV3 train beside their head (Zhao et al., CVPR 2017); nothing of it is exported.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        inner = max(channels // 4, 16)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout2d(0.1),
            nn.Conv2d(inner, classes, 1),
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, classes, h, w), float32."""
        logits: Tensor = self.layers(feature.float())
        return logits
