"""Channel-wise distillation.

Paper: Channel-wise Knowledge Distillation for Dense Prediction (Shu et al., arXiv 2011.13256, ICCV 2021).
"""

from torch import Tensor

from kd_deploy.distill.positions import logit_pair, spatial_divergence


def cwd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 4.0,
    ignore_index: int = 255,
) -> Tensor:
    """L = T^2 / C mean_b sum_c KL(softmax_n(Z^T_bc / T) || softmax_n(Z^S_bc / T)).

    Every class map becomes a distribution over the positions of its image. Paper: the formula, on logits with
    T = 4 and weight 3. Our reading: with labels, softmax_n runs over the valid positions only, and an image
    without any counts as zero.

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
    student, teacher, valid = logit_pair(student, teacher, labels, ignore_index)
    return spatial_divergence(student, teacher, valid, temperature).mean()
