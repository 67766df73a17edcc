from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kd_deploy.distill.methods.kd import pixel_kd_loss
from tests.kd_deploy.distill.reference import Array, images, kl, mean
from tests.kd_deploy.distill.tester import ShiftInvariantTester


def reference(student: Array, teacher: Array, labels: Any, temperature: float) -> float:
    losses = []
    for zs, zt, valid in images(student, teacher, labels):
        terms = [kl(zt[:, i, j] / temperature, zs[:, i, j] / temperature) for i, j in np.argwhere(valid)]
        losses.append(temperature**2 * mean(terms))
    return mean(losses)


class TestPixelKD(ShiftInvariantTester):
    loss = staticmethod(pixel_kd_loss)
    reference = staticmethod(partial(reference, temperature=1.0))
    invariant_to = "position"


class TestPixelKDAtTemperature3(ShiftInvariantTester):
    loss = staticmethod(partial(pixel_kd_loss, temperature=3.0))
    reference = staticmethod(partial(reference, temperature=3.0))
    invariant_to = "position"


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_torch_on_an_unmasked_batch(temperature: float) -> None:
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, 2, 19, 4, 5)
    rows = [(z / temperature).movedim(1, -1).reshape(-1, 19) for z in (student, teacher)]
    expected = F.kl_div(rows[0].log_softmax(1), rows[1].softmax(1), reduction="batchmean") * temperature**2
    torch.testing.assert_close(pixel_kd_loss(student, teacher, temperature=temperature), expected)


def test_another_ignore_index() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 3, 2, 2)
    labels = torch.zeros(1, 2, 2, dtype=torch.uint8)
    labels[0, 0] = 7
    expected = pixel_kd_loss(student[:, :, 1:], teacher[:, :, 1:])
    torch.testing.assert_close(pixel_kd_loss(student, teacher, labels, ignore_index=7), expected)
