"""What the logit losses share: the valid positions, the pair of logits to compare, and the two divergences.

The losses set invalid logits to zero with `torch.where`, never by multiplying: whatever the networks say on
an ignored pixel, NaN included, reaches neither the value nor the gradient. float32 operations that autocast
leaves alone do the rest, so that a loss is computed in float32 under autocast too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def valid_positions(labels: Tensor | None, like: Tensor, ignore_index: int = 255) -> Tensor:
    """Positions of the grid of `like` (B,*,h,w) that count: (B,1,h,w) bool.

    A position is valid where at least half of its labels (B,H,W) are not `ignore_index`, after an adaptive
    average pool from H x W to h x w. All are valid without labels.
    """
    batch, _, height, width = like.shape
    if labels is None:
        return torch.ones(batch, 1, height, width, dtype=torch.bool, device=like.device)
    share = F.adaptive_avg_pool2d((labels != ignore_index).float().unsqueeze(1), (height, width))
    # A pool that multiplies by 1/n rounds exactly half to just below it; a share steps by 1/n, n << 1e6.
    return share >= 0.5 - 1e-6


def logit_pair(
    student: Tensor, teacher: Tensor, labels: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits to compare, both float32 (B,C,h,w) on the student's grid, and the valid positions (B,1,h,w).

    The teacher is detached, and resized (bilinear, align_corners=False) where its grid differs: there a
    teacher logit also reaches the positions beside its own. Both are zero at invalid positions.

    Raises ValueError where the two differ in the number of classes.
    """
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(f"the student has {student.shape[1]} classes, the teacher {teacher.shape[1]}")
    student, teacher = student.float(), teacher.detach().float()
    if teacher.shape[-2:] != student.shape[-2:]:
        teacher = F.interpolate(teacher, size=student.shape[-2:], mode="bilinear", align_corners=False)
    valid = valid_positions(labels, student, ignore_index)
    zero = student.new_zeros(())
    return torch.where(valid, student, zero), torch.where(valid, teacher, zero), valid


def class_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax_c(teacher / T) || softmax_c(student / T)) of logits (B,C,h,w): (B,h,w).

    It is exactly zero where the two are equal, as they are at the invalid positions of `logit_pair`.
    """
    return temperature**2 * _kl(student / temperature, teacher / temperature, dim=1).sum(1)


def spatial_divergence(student: Tensor, teacher: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax_n(teacher / T) || softmax_n(student / T)) of logits (B,C,h,w): (B,C).

    The softmax runs over the `valid` positions (B,1,h,w) only. The others get the lowest finite logit, not
    -inf: their probability is exactly zero all the same, and an image without a valid position compares two
    equal distributions, which gives zero and not NaN.
    """
    lowest = student.new_full((), torch.finfo(student.dtype).min)
    student, teacher = (torch.where(valid, z / temperature, lowest).flatten(2) for z in (student, teacher))
    return temperature**2 * _kl(student, teacher, dim=2).sum(2)


def _kl(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """The summands p^T (log p^T - log p^S) with p = softmax over `dim`."""
    log_student, log_teacher = F.log_softmax(student, dim), F.log_softmax(teacher, dim)
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
