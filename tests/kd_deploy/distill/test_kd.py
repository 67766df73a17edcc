from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kd_deploy.distill.methods.kd import pixel_kd_loss
from tests.kd_deploy.distill.tester import Array, LabelFreeTester, images, reference_kl, reference_valid


def reference(student: Array, teacher: Array, labels: Any, temperature: float) -> float:
    losses = []
    for zs, zt, truth in images(student, teacher, labels):
        positions = np.argwhere(reference_valid(truth, *zs.shape[1:]))
        terms = [reference_kl(zt[:, i, j] / temperature, zs[:, i, j] / temperature) for i, j in positions]
        losses.append(temperature**2 * np.mean(terms) if terms else 0.0)
    return float(np.mean(losses))


class TestPixelKD(LabelFreeTester):
    loss = staticmethod(pixel_kd_loss)
    reference = staticmethod(partial(reference, temperature=1.0))
    invariant_to = "position"


class TestPixelKDAtTemperature3(LabelFreeTester):
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
