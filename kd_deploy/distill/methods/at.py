"""Attention transfer.

Paper: Paying More Attention to Attention (Zagoruyko, Komodakis, arXiv 1612.03928, ICLR 2017). The paper's: the
activation map. Our reading: valid positions only, mean over them.
"""

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.positions import masked_mean, pair


def at_loss(
    student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, ignore_index: int = 255
) -> Tensor:
    """L = mean over images and positions of (a^S - a^T)^2, a = vec(mean_c F^2) / its L2 norm.

    Args:
        student: features (B,C_s,h,w), any float dtype; the only input that gets a gradient.
        teacher: features (B,C_t,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.
    """
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    maps = [F.normalize(x.square().mean(1).flatten(1), dim=1) for x in (student, teacher)]
    return masked_mean((maps[0] - maps[1]).square(), valid.flatten(1)).mean()
