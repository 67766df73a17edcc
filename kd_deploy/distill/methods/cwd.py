"""Channel-wise distillation.

Paper: Channel-wise Knowledge Distillation for Dense Prediction (Shu et al., arXiv 2011.13256, ICCV 2021).
"""

from torch import Tensor

from kd_deploy.distill.positions import aligned, check_classes, spatial_divergence


def cwd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 4.0,
    ignore_index: int = 255,
) -> Tensor:
    """L = T^2 / C mean_b sum_c KL(softmax_n(Z^T_bc / T) || softmax_n(Z^S_bc / T)).

    Every channel becomes a distribution over the positions of its image. Paper: the formula, on logits with T = 4
    and weight 3, on features (projected to the teacher's channels by a 1 x 1 convolution, which is the objective's)
    with weight 50. Our reading: with labels, softmax_n runs over the valid positions only, and an image without any
    counts as zero.

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
    student, teacher, valid = aligned(student, teacher, labels, ignore_index)
    return temperature**2 * spatial_divergence(student / temperature, teacher / temperature, valid).mean()
