from functools import partial
from typing import Any

import torch

from kd_deploy.distill.methods.cwd import cwd_loss
from tests.kd_deploy.distill.reference import Array, images, kl, mean
from tests.kd_deploy.distill.tester import ShiftInvariantTester


def reference(student: Array, teacher: Array, labels: Any, temperature: float) -> float:
    losses = []
    for zs, zt, valid in images(student, teacher, labels):
        terms = [kl(t[valid] / temperature, s[valid] / temperature) for s, t in zip(zs, zt, strict=True)]
        losses.append(temperature**2 * mean(terms))
    return mean(losses)


class TestCWD(ShiftInvariantTester):
    loss = staticmethod(cwd_loss)
    reference = staticmethod(partial(reference, temperature=4.0))
    invariant_to = "class"


class TestCWDAtTemperature1(ShiftInvariantTester):
    loss = staticmethod(partial(cwd_loss, temperature=1.0))
    reference = staticmethod(partial(reference, temperature=1.0))
    invariant_to = "class"


def test_ignored_rows_are_as_if_cropped_away() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 5, 4, 3)
    labels = torch.zeros(2, 8, 6, dtype=torch.int64)
    labels[:, 4:] = 255
    expected = cwd_loss(student[:, :, :2], teacher[:, :, :2])
    torch.testing.assert_close(cwd_loss(student, teacher, labels), expected)
