import numpy as np
import pytest
import torch

from kd_deploy.distill.positions import valid_positions
from tests.kd_deploy.distill.tester import random_labels, reference_valid


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1), (13, 17), (20, 2)])
def test_equals_the_reference(size: tuple[int, int]) -> None:
    labels = random_labels(np.random.default_rng(0), (3, 13, 17), 4, 0.6)
    valid = valid_positions(labels, torch.zeros(3, 2, *size))
    assert valid.dtype == torch.bool
    assert np.array_equal(valid[:, 0].numpy(), [reference_valid(truth, *size) for truth in labels.numpy()])


@pytest.mark.parametrize("height", range(1, 26))
@pytest.mark.parametrize("width", [2, 14, 98, 106])
def test_half_is_enough_and_one_label_less_is_not(height: int, width: int) -> None:
    labels = torch.zeros(1, height, width, dtype=torch.uint8)
    labels[:, :, : width // 2] = 255
    cell = torch.zeros(1, 1, 1, 1)
    assert valid_positions(labels, cell).item()
    labels[:, 0, -1] = 255
    assert not valid_positions(labels, cell).item()


def test_all_are_valid_without_labels() -> None:
    assert torch.equal(
        valid_positions(None, torch.zeros(2, 5, 3, 4)), torch.ones(2, 1, 3, 4, dtype=torch.bool)
    )
