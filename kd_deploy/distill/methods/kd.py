"""Pixel-wise knowledge distillation.

Paper: Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean, arXiv 1503.02531, 2015), applied
to every position of the logit grid as CIRKD does (arXiv 2204.06986, CVPR 2022).
"""

from torch import Tensor

from kd_deploy.distill.positions import check_classes, class_divergence, masked_mean, pair


def pixel_kd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    ignore_index: int = 255,
) -> Tensor:
    """L = T^2 mean_b mean_i KL(softmax_c(Z^T_bi / T) || softmax_c(Z^S_bi / T)), over valid positions i.

    Paper: the divergence and its factor T^2. CIRKD's form: T = 1, weight 1. Our reading: labels leave the
    ignored positions out, each image counts the same, and one without a valid position counts as zero.

    Args:
        student: logits (B,C,h,w) before upsampling, any float dtype; the only input that gets a gradient.
        teacher: logits (B,C,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers, or None: then every position is valid.
        temperature: T.
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.

    Raises:
        ValueError: student and teacher differ in the number of classes.
    """
    check_classes(student, teacher)
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    divergence = class_divergence(student / temperature, teacher / temperature)
    return temperature**2 * masked_mean(divergence.flatten(1), valid.flatten(1)).mean()
