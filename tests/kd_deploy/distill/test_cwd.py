from functools import partial
from typing import Any

import numpy as np
import torch

from kd_deploy.distill.methods.cwd import cwd_loss
from tests.kd_deploy.distill.tester import Array, LabelFreeTester, images, reference_kl, reference_valid


def reference(student: Array, teacher: Array, labels: Any, temperature: float) -> float:
    losses = []
    for zs, zt, truth in images(student, teacher, labels):
        valid = reference_valid(truth, *zs.shape[1:])
        terms = [reference_kl(zt[c][valid] / temperature, zs[c][valid] / temperature) for c in range(len(zs))]
        losses.append(temperature**2 * np.mean(terms))
    return float(np.mean(losses))


class TestCWD(LabelFreeTester):
    loss = staticmethod(cwd_loss)
    reference = staticmethod(partial(reference, temperature=4.0))
    invariant_to = "class"


class TestCWDAtTemperature1(LabelFreeTester):
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
