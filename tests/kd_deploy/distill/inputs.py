"""Random inputs of the losses."""

import numpy as np
import torch
from torch import Tensor

from tests.kd_deploy.distill.reference import IGNORED


def random_labels(
    rng: np.random.Generator, shape: tuple[int, int, int], classes: int, ignored: float
) -> Tensor:
    """Labels (B,H,W) in blocks, so that there are bodies too, an ignored top and stray pixels."""
    batch, height, width = shape
    blocks = rng.integers(0, classes, (batch, -(-height // 4), -(-width // 4)))
    labels = blocks.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    labels[rng.random(shape) < ignored / 2] = IGNORED
    labels[:, : int(height * ignored)] = IGNORED
    return torch.from_numpy(np.ascontiguousarray(labels))


def random_tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(0, 3, shape).astype(np.float32))
