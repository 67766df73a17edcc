"""What the losses share: the valid positions, the pair of tensors to compare, and the divergences.

Losses set what is invalid to zero with `torch.where`, never by multiplying: whatever the networks say on an
ignored pixel, NaN included, reaches neither the value nor the gradient. They compute in float32 (float64 where
it is given), under autocast too: `full_precision` raises the inputs, `matmul` keeps autocast out of products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32, or as it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` in the precision of its arguments; autocast would take half of it."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def valid_positions(labels: Tensor | None, like: Tensor, ignore_index: int = 255) -> Tensor:
    """Positions of the grid of `like` (B,*,h,w) that count: (B,1,h,w) bool.

    A position is valid where at least half of its labels (B,H,W) are not `ignore_index`, after an adaptive
    average pool from H x W to h x w. All are valid without labels.

    Raises ValueError where the labels are not one map for each image.
    """
    batch, _, height, width = like.shape
    if labels is None:
        return torch.ones(batch, 1, height, width, dtype=torch.bool, device=like.device)
    if labels.ndim != 3 or len(labels) != batch:
        raise ValueError(f"labels are {tuple(labels.shape)}, expected (B, H, W) with B = {batch}")
    share = F.adaptive_avg_pool2d((labels != ignore_index).float().unsqueeze(1), (height, width))
    # A pool that multiplies by 1/n rounds exactly half to just below it; a share steps by 1/n, n << 1e6.
    return share >= 0.5 - 1e-6


def aligned(
    student: Tensor, teacher: Tensor, labels: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors to compare, (B,C_s,h,w) and (B,C_t,h,w) on the student's grid, and valid positions (B,1,h,w).

    The teacher is detached, and resized (bilinear, align_corners=False) where its grid differs: there a
    value also reaches the positions beside its own.

    Raises ValueError where the two batches differ, or the labels are not one map for each image.
    """
    if len(student) != len(teacher):
        raise ValueError(f"the student has {len(student)} images, the teacher {len(teacher)}")
    student, teacher = full_precision(student), full_precision(teacher.detach())
    if teacher.shape[-2:] != student.shape[-2:]:
        teacher = F.interpolate(teacher, size=student.shape[-2:], mode="bilinear", align_corners=False)
    return student, teacher.to(student.dtype), valid_positions(labels, student, ignore_index)


def pair(
    student: Tensor, teacher: Tensor, labels: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`aligned`, and both tensors zero at invalid positions."""
    student, teacher, valid = aligned(student, teacher, labels, ignore_index)
    zero = student.new_zeros(())
    return torch.where(valid, student, zero), torch.where(valid, teacher, zero), valid


def check_classes(student: Tensor, teacher: Tensor) -> None:
    """Raise ValueError where the two, whose channels are compared one with one, differ in their number."""
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(f"the student has {student.shape[1]} classes, the teacher {teacher.shape[1]}")


def class_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax_c(teacher) || softmax_c(student)) of logits (B,C,h,w): (B,h,w).

    It is exactly zero where the two are equal, as they are at the invalid positions of `pair`.
    """
    return _kl(student, teacher, dim=1).sum(1)


def row_divergence(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """KL(softmax_n(teacher) || softmax_n(student)) of rows (...,N): (...).

    The softmax runs over the entries that are `valid` (broadcast to the rows) only. The others get the lowest
    finite logit, not -inf: their probability is exactly zero all the same, and a row without a valid entry
    compares two equal distributions, which gives zero and not NaN.
    """
    lowest = student.new_full((), torch.finfo(student.dtype).min)
    student, teacher = (torch.where(valid, z, lowest) for z in (student, teacher))
    return _kl(student, teacher, dim=-1).sum(-1)


def spatial_divergence(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """`row_divergence` of every map (B,C,h,w) over its positions: (B,C); `valid` is (B,1,h,w)."""
    return row_divergence(student.flatten(2), teacher.flatten(2), valid.flatten(2))


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the valid entries along the last dimension: (...,N) -> (...); 0 where there are none."""
    total = torch.where(valid, values, values.new_zeros(())).sum(-1)
    return total / valid.sum(-1).clamp(min=1)


def _kl(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """The summands p^T (log p^T - log p^S) with p = softmax over `dim`."""
    log_student, log_teacher = F.log_softmax(student, dim), F.log_softmax(teacher, dim)
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
