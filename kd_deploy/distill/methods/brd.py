"""Boundary and relation distillation, from the backbone's features alone.

Paper: Boundary and Relation Distillation for Semantic Segmentation (Zhang et al., arXiv 2401.13174; later versions
are called Towards Customized Knowledge Distillation for Chip-Level Dense Image Predictions). Its operators are not
known to us and no code was released: this is our reconstruction from what the abstract states, explicit boundaries out
of the backbone's hierarchical features, self-relations of the pixels as the bridge, nothing left at inference.
Ours: every formula below, the constants, and what ignored positions do. The terms know no labels; a
permutation of either network's channels changes nothing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.positions import (
    full_precision,
    masked_mean,
    row_divergence,
    spatial_divergence,
    valid_positions,
)
from kd_deploy.distill.tokens import gram, token_pair

_SEEN = 1e-4
"""A position with less than this share of valid positions around it, on the teacher's grid, has nothing to learn."""


def boundary_loss(
    student_features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    labels: Tensor | None = None,
    *,
    tau: float = 1.0,
    ignore_index: int = 255,
) -> Tensor:
    """L_bd = mean over levels l and images of KL(softmax_n(b^T_l / tau) || softmax_n(b^S_l / tau)).

    b_l = sqrt(mean_c D_l^2 + 1e-6) divided by its mean over positions, D_l = F_l - avgpool_3(F_l) with stride 1
    and replicated borders: how much a feature differs from those around it. The teacher's b_l is resized
    (bilinear) to the student's grid. Invalid positions stay out of every average, and of the softmax.

    Args:
        student_features: (B,C_l,h_l,w_l) for every level, any float dtype; what gets the gradient.
        teacher_features: as many levels; channels and grids may differ.
        labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
        tau: temperature.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.

    Raises:
        ValueError: no level, or not as many of both.
    """
    if not student_features or len(student_features) != len(teacher_features):
        counts = f"{len(student_features)} and {len(teacher_features)}"
        raise ValueError(f"student and teacher must give the same levels, one or more, not {counts}")
    levels = zip(student_features, teacher_features, strict=True)
    return torch.stack([_level(s, t.detach(), labels, tau, ignore_index) for s, t in levels]).mean()


def _level(student: Tensor, teacher: Tensor, labels: Tensor | None, tau: float, ignore_index: int) -> Tensor:
    if len(student) != len(teacher):
        raise ValueError(f"the student has {len(student)} images, the teacher {len(teacher)}")
    (s, valid), (t, known) = (_strength(x, labels, ignore_index) for x in (student, teacher))
    if t.shape != s.shape:
        share = F.interpolate(known.to(t.dtype), size=s.shape[-2:], mode="bilinear", align_corners=False)
        t = F.interpolate(t, size=s.shape[-2:], mode="bilinear", align_corners=False)
        t, valid = t / share.clamp(min=_SEEN), valid & (share > _SEEN)
    return spatial_divergence(s / tau, t.to(s.dtype) / tau, valid).mean()


def _strength(feature: Tensor, labels: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The boundary strength b (B,1,h,w), 0 at invalid positions, and the valid positions."""
    valid = valid_positions(labels, feature, ignore_index)
    zero = torch.zeros((), dtype=full_precision(feature).dtype, device=feature.device)
    feature = torch.where(valid, full_precision(feature), zero)
    around = _mean_3(feature) / _mean_3(valid.to(feature.dtype)).clamp(min=1 / 9)
    difference = torch.where(valid, feature - around, zero)
    strength = (difference.square().mean(1, keepdim=True) + 1e-6).sqrt()
    mean = masked_mean(strength.flatten(1), valid.flatten(1)).view(-1, 1, 1, 1)
    return torch.where(valid, strength / mean.clamp(min=1e-6), zero), valid


def _mean_3(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def relation_loss(
    student_feature: Tensor,
    teacher_feature: Tensor,
    labels: Tensor | None = None,
    *,
    tau: float = 0.1,
    max_tokens: int = 1024,
    ignore_index: int = 255,
) -> Tensor:
    """L_rel = mean over images and rows of KL(R^T || R^S), R = softmax of each row of Fhat^T Fhat / tau.

    Fhat has unit length over channels. The teacher's feature is resized to the student's grid, then both are
    average-pooled to `max_tokens` positions or fewer: R is (B,N,N).

    Args:
        student_feature: (B,C_s,h,w), the deepest tap, any float dtype; what gets the gradient.
        teacher_feature: (B,C_t,h',w').
        labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
        tau: temperature.
        max_tokens: the most positions that are compared with each other.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.
    """
    student, teacher, valid = token_pair(student_feature, teacher_feature, labels, max_tokens, ignore_index)
    rows = row_divergence(gram(student) / tau, gram(teacher) / tau, valid.unsqueeze(1))
    return masked_mean(rows, valid).mean()
