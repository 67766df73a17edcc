"""Structured knowledge distillation, its pair-wise term.

Paper: Structured Knowledge Distillation for Semantic Segmentation (Liu et al., arXiv 1903.04197, CVPR 2019). The
paper's: the similarity of every two pooled features. Its adversarial term is not here. Our reading: average
pooling to at most `max_tokens` positions, valid ones only.
"""

from torch import Tensor

from kd_deploy.distill.positions import masked_mean
from kd_deploy.distill.tokens import gram, token_pair


def pairwise_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    max_tokens: int = 1024,
    ignore_index: int = 255,
) -> Tensor:
    """L = mean over images and pairs of positions of (A^S - A^T)^2, A = Fhat^T Fhat with unit features Fhat.

    Args:
        student: features (B,C_s,h,w), any float dtype; the only input that gets a gradient.
        teacher: features (B,C_t,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
        max_tokens: the most positions that are compared with each other.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.
    """
    student, teacher, valid = token_pair(student, teacher, labels, max_tokens, ignore_index)
    difference = (gram(student) - gram(teacher)).square()
    pairs = valid.unsqueeze(2) & valid.unsqueeze(1)
    return masked_mean(difference.flatten(1), pairs.flatten(1)).mean()
