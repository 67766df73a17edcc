"""Intra-class feature variation distillation.

Paper: Intra-class Feature Variation Distillation for Semantic Segmentation (Wang et al., ECCV 2020). The paper's:
the cosine to the prototype of one's own class, weight 20. Our reading: prototypes of one image each, valid positions
only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.positions import masked_mean, pair
from kd_deploy.distill.tokens import unit

_SLOTS = 257
"""Class ids fit into a byte; the last slot takes the invalid positions."""


def ifvd_loss(student: Tensor, teacher: Tensor, labels: Tensor, *, ignore_index: int = 255) -> Tensor:
    """L = mean over images and positions i of (M^S_i - M^T_i)^2, M_i = cos(F_i, prototype of i's class).

    The prototype of a class is its mean feature in that image; labels are resized to the feature grid (nearest).

    Args:
        student: features (B,C_s,h,w), any float dtype; the only input that gets a gradient.
        teacher: features (B,C_t,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers, 0 to 255.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.
    """
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    ids = F.interpolate(labels.unsqueeze(1).float(), size=student.shape[-2:]).long().flatten(1)
    valid = valid.flatten(1) & (ids != ignore_index)
    slots = torch.where(valid, ids, _SLOTS - 1)
    variation = _to_prototype(student, slots) - _to_prototype(teacher, slots)
    return masked_mean(variation.square(), valid).mean()


def _to_prototype(feature: Tensor, slots: Tensor) -> Tensor:
    """Cosine of every position's feature, (B,C,h,w), to the mean of its slot, (B,N), in its image: (B,N)."""
    batch, channels = feature.shape[:2]
    rows = feature.flatten(2).transpose(1, 2).reshape(-1, channels)
    index = (slots + _SLOTS * torch.arange(batch, device=slots.device).unsqueeze(1)).flatten()
    sums = rows.new_zeros(batch * _SLOTS, channels).index_add(0, index, rows)
    # The cosine does not ask for a length, so that the sum of a slot is as good as its mean.
    return (unit(rows, dim=1) * unit(sums, dim=1)[index]).sum(1).view(batch, -1)
