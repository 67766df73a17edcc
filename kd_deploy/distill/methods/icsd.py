"""Inter-class similarity distillation: which classes lie where other classes do.

Paper: AICSD: Adaptive Inter-Class Similarity Distillation for Semantic Segmentation (Mansourian, Ahmadi, Kasaei,
arXiv 2308.04243). The paper's: one distribution over the positions for each class, the matrix of their KL
divergences, the squared distance of the two matrices. Our reading: one matrix for each image, rows of unit norm,
valid positions only. The code that its authors released computes something else. The paper's adaptive loss
weighting (ALW) is no loss but a schedule: linear 0 -> 1 on cross-entropy and `icsd`, linear 1 -> 0 on `kd`.
"""

from typing import Literal

import torch
from torch import Tensor

from kd_deploy.distill.positions import check_classes, full_precision, matmul, pair, valid_positions

_TINY = 1e-5
"""A row of the matrix below this norm is rounding noise."""


def icsd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    tau: float = 1.0,
    normalize: Literal["rows", "none"] = "rows",
    ignore_index: int = 255,
) -> Tensor:
    """L_ICS = mean over b, i, j of (S^T_bij - S^S_bij)^2, S the `interclass_matrix`.

    `normalize` "rows" divides each row of S by its L2 norm, "none" takes it raw. The weight that suits is about
    75 with "rows" and 0.03 with "none", against mean-reduced cross-entropy.

    Args:
        student: logits (B,C,h,w) before upsampling, any float dtype; the only input that gets a gradient.
        teacher: logits (B,C,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers, or None: then every position is valid.
        tau: temperature of the softmax over positions.
        normalize: "rows" or "none".
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.

    Raises:
        ValueError: student and teacher differ in the number of classes, or `normalize` is another.
    """
    if normalize not in ("rows", "none"):
        raise ValueError(f"unknown normalize {normalize!r}: rows or none")
    check_classes(student, teacher)
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    matrices = [_divergences(z / tau, valid) for z in (student, teacher)]
    if normalize == "rows":
        matrices = [_unit_rows(s) for s in matrices]
    return (matrices[1] - matrices[0]).square().mean()


def interclass_matrix(
    logits: Tensor, labels: Tensor | None = None, *, tau: float = 1.0, ignore_index: int = 255
) -> Tensor:
    """S_bij = KL(P_bi || P_bj), (B,C,C) float32, with P_bc = softmax_n(Z_bc / tau) over the valid positions.

    It is exact and not symmetric; its diagonal is zero. Arguments as in `icsd_loss`.
    """
    valid = valid_positions(labels, logits, ignore_index)
    logits = torch.where(valid, full_precision(logits), full_precision(logits.new_zeros(())))
    return _divergences(logits / tau, valid)


def _unit_rows(matrix: Tensor) -> Tensor:
    norm = matrix.norm(dim=2, keepdim=True)
    return torch.where(norm > _TINY, matrix / norm.clamp(min=_TINY), matrix.new_zeros(()))


def _divergences(z: Tensor, valid: Tensor) -> Tensor:
    """KL of every two of the C distributions softmax_n(z), z (B,C,h,w) and 0 where invalid: (B,C,C).

    sum_n p_i (log p_i - log p_j) = G_ii - G_ij - l_i + l_j, with G = P z^T and l the log-sum-exp of each class:
    one batched matrix product, and less rounding than with log p in it. A constant on a class changes
    nothing, so that each one's largest valid logit may be 0.
    """
    z, valid = z.flatten(2), valid.flatten(2)
    lowest = z.new_full((), torch.finfo(z.dtype).min)
    top = torch.where(valid, z, lowest).amax(2, keepdim=True).detach()
    z = torch.where(valid, z - top, z.new_zeros(()))
    masked = torch.where(valid, z, lowest)
    log_sum = masked.logsumexp(2)
    cross = matmul(masked.softmax(2), z.transpose(1, 2))
    own = cross.diagonal(dim1=1, dim2=2) - log_sum
    return own.unsqueeze(2) - cross + log_sum.unsqueeze(1)
