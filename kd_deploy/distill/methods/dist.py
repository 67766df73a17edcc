"""DIST: distillation by correlation instead of by value.

Paper: Knowledge Distillation from a Stronger Teacher (Huang et al., arXiv 2205.10536, NeurIPS 2022). The paper's:
the inter-class relation (classes at one position) and the intra-class relation (one class over the positions), with
weights 1 and 1. Our reading: both within one image, over valid positions.
"""

import torch
from torch import Tensor

from kd_deploy.distill.positions import check_classes, masked_mean, pair

_FLAT = 1e-5
"""Less spread than this share of its mean makes a vector a constant, in float32."""


def dist_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    inter: float = 1.0,
    intra: float = 1.0,
    ignore_index: int = 255,
) -> Tensor:
    """L = inter (1 - mean_i r_i) + intra (1 - mean_c r_c), averaged over the images.

    With Y = softmax_c(Z), r_i is the Pearson correlation of student and teacher over the classes at valid
    position i, r_c the one over the valid positions of class c. Where the teacher is constant there is
    nothing to correlate with: that row or column costs nothing.

    Args:
        student: logits (B,C,h,w) before upsampling, any float dtype; the only input that gets a gradient.
        teacher: logits (B,C,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers, or None: then every position is valid.
        inter: weight of the rows.
        intra: weight of the columns.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.

    Raises:
        ValueError: student and teacher differ in the number of classes.
    """
    check_classes(student, teacher)
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    valid, shares = valid.flatten(2), [z.softmax(1).flatten(2) for z in (student, teacher)]
    mean = student.new_full((), 1 / student.shape[1])
    rows = _distance([share - mean for share in shares], [mean, mean], student.shape[1], dim=1)

    zero, count = student.new_zeros(()), valid.sum(2).clamp(min=1)
    means = [torch.where(valid, share, zero).sum(2) / count for share in shares]
    centred = [torch.where(valid, p - m.unsqueeze(2), zero) for p, m in zip(shares, means, strict=True)]
    columns = _distance(centred, means, count, dim=2)
    return (inter * masked_mean(rows, valid.squeeze(1)) + intra * columns.mean(1)).mean()


def _distance(centred: list[Tensor], means: list[Tensor], count: int | Tensor, dim: int) -> Tensor:
    """1 - Pearson correlation of student and teacher along `dim`; 0 where the teacher is constant.

    Both come with their means taken off, and those means.
    """
    squares = [_dot(x, x, dim) for x in centred]
    floors = [(count * (_FLAT * mean.detach()).square()).clamp(min=1e-37) for mean in means]
    norms = [square.maximum(floor).sqrt() for square, floor in zip(squares, floors, strict=True)]
    zero = norms[0].new_zeros(())
    correlation = _dot(centred[0], centred[1], dim) / (norms[0] * norms[1])
    correlation = torch.where(squares[0] > floors[0], correlation, zero)  # a constant student has none
    return torch.where(squares[1] > floors[1], 1 - correlation, zero)


def _dot(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Inner products along `dim`; vecdot is a matrix product, which autocast would take half of."""
    with torch.autocast(a.device.type, enabled=False):
        product: Tensor = torch.linalg.vecdot(a, b, dim=dim)
    return product
