"""Masked generative distillation.

Paper: Masked Generative Distillation (Yang et al., arXiv 2205.01529, ECCV 2022). The paper's: hide positions of the
student's feature and make it generate the teacher's whole one; share 0.75 and weight 2e-5 for segmentation. Our
reading: invalid positions are hidden too and cost nothing.
"""

import torch
from torch import Tensor, nn

from kd_deploy.distill.positions import full_precision, pair


class MGD(nn.Module):
    """L = sum over positions and channels of (G(align(F^S) * keep) - F^T)^2 / B.

    align is a 1 x 1 convolution from the student's channels to the teacher's, G two 3 x 3 convolutions with a ReLU
    between them, keep a random mask that hides `mask_ratio` of the positions, drawn for every image and
    call from torch's generator of the device. The module learns with the student and is left behind.
    """

    def __init__(self, student_channels: int, teacher_channels: int, *, mask_ratio: float = 0.75) -> None:
        super().__init__()
        self.mask_ratio = mask_ratio
        self.align = nn.Conv2d(student_channels, teacher_channels, 1)
        self.generate = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def forward(
        self, student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, ignore_index: int = 255
    ) -> Tensor:
        """The loss, a float32 scalar.

        Args:
            student: features (B,C_s,h,w), any float dtype; gets a gradient, as the module's weights do.
            teacher: features (B,C_t,h',w'), resized bilinearly to h x w where they differ.
            labels: (B,H,W) integers; only `ignore_index` is looked at. None: every position is valid.
            ignore_index: the label that counts nowhere.
        """
        student, teacher, valid = pair(student, teacher, labels, ignore_index)
        shown = valid & (torch.rand(valid.shape, device=valid.device) >= self.mask_ratio)
        with torch.autocast(student.device.type, enabled=False):
            generated = self.generate(self.align(student) * shown)
        wrong = torch.where(valid, full_precision(generated) - teacher, teacher.new_zeros(()))
        return wrong.square().sum() / len(student)
