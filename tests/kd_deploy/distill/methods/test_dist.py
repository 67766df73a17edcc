from functools import partial
from typing import Any

import numpy as np
import torch

from kd_deploy.distill.methods.dist import dist_loss
from tests.kd_deploy.distill.reference import Array, images, mean, softmax
from tests.kd_deploy.distill.tester import ShiftInvariantTester


def distance(student: Array, teacher: Array) -> float:
    """1 - Pearson's correlation; 0 where the teacher is constant."""
    if teacher.std() <= 1e-5 * teacher.mean():
        return 0.0
    a, b = student - student.mean(), teacher - teacher.mean()
    return float(1 - a @ b / np.sqrt((a @ a) * (b @ b)))


def reference(student: Array, teacher: Array, labels: Any, inter: float = 1.0, intra: float = 1.0) -> float:
    losses = []
    for zs, zt, valid in images(student, teacher, labels):
        positions = np.argwhere(valid)
        s, t = (np.array([softmax(z[:, i, j]) for i, j in positions]) for z in (zs, zt))  # (N,C)
        rows = [distance(a, b) for a, b in zip(s, t, strict=True)]
        columns = [distance(a, b) for a, b in zip(s.T, t.T, strict=True)]
        losses.append(inter * mean(rows) + intra * mean(columns))
    return mean(losses)


class TestDIST(ShiftInvariantTester):
    loss = staticmethod(dist_loss)
    reference = staticmethod(reference)
    invariant_to = "position"
    rounding = 5e-7


class TestDISTWithOtherWeights(ShiftInvariantTester):
    loss = staticmethod(partial(dist_loss, inter=0.3, intra=2.0))
    reference = staticmethod(partial(reference, inter=0.3, intra=2.0))
    invariant_to = "position"
    rounding = 1e-6


def test_a_constant_teacher_costs_nothing_and_a_constant_student_all() -> None:
    flat, varied = (
        torch.zeros(1, 3, 2, 2),
        torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
    )
    flat.requires_grad_()
    assert dist_loss(varied, flat) == 0
    loss = dist_loss(flat, varied)
    torch.testing.assert_close(loss, torch.tensor(2.0))
    (gradient,) = torch.autograd.grad(loss, flat)
    assert gradient.isfinite().all()
