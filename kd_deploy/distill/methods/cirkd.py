"""Cross-image relational distillation, its mini-batch term.

Paper: Cross-Image Relational Knowledge Distillation for Semantic Segmentation (Yang et al., arXiv 2204.06986,
CVPR 2022). The paper's: pixels of one image against the pixels of another, tau = 0.1. Its memory queues are not
here. Our reading: average pooling to at most `max_tokens` positions, valid ones only.
"""

from torch import Tensor

from kd_deploy.distill.positions import masked_mean, matmul, row_divergence
from kd_deploy.distill.tokens import token_pair


def minibatch_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    tau: float = 0.1,
    max_tokens: int = 1024,
    ignore_index: int = 255,
) -> Tensor:
    """L = mean over pairs (a, b) of images and rows of KL(R^T_ab || R^S_ab).

    R_ab is the softmax over each row of Fhat_a^T Fhat_b / tau, with unit features Fhat, and a = b is one of the
    B^2 pairs. It crosses images: a batch is not the mean of its images. An image without a valid position adds
    zero for its pairs. Memory grows with (B N)^2.

    Args:
        student: features (B,C_s,h,w), any float dtype; the only input that gets a gradient.
        teacher: features (B,C_t,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
        tau: temperature.
        max_tokens: the most positions N of an image that are compared.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.
    """
    student, teacher, valid = token_pair(student, teacher, labels, max_tokens, ignore_index)
    columns = valid[None, :, None, :]
    rows = row_divergence(_across(student) / tau, _across(teacher) / tau, columns)
    return masked_mean(rows, valid[:, None, :]).mean()


def _across(tokens: Tensor) -> Tensor:
    """Similarity of the tokens of every two images: (B,C,N) -> (B,B,N,N)."""
    return matmul(tokens.transpose(1, 2).unsqueeze(1), tokens.unsqueeze(0))
