"""Feature tokens: what the methods that compare positions with positions work on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.positions import matmul, pair

_TINY = 1e-6
"""Below this norm a feature has no direction, and no gradient: dividing by it would make that explode."""


def token_pair(
    student: Tensor, teacher: Tensor, labels: Tensor | None, max_tokens: int, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features of the student (B,C_s,N) and of the teacher (B,C_t,N), and which are valid (B,N) bool.

    The features, on the student's grid, are averaged over 2 x 2, 4 x 4, ... positions until there are at most
    `max_tokens`. Invalid positions stay out of the averages; a token is valid where half of its positions are.
    """
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    height, width = student.shape[-2:]
    side = 1
    while -(-height // side) * -(-width // side) > max_tokens:
        side *= 2
    # Invalid positions are zero, and the length of what is left of a mean does not matter.
    student, teacher = (unit(_pool(x, side).flatten(2), dim=1) for x in (student, teacher))
    return student, teacher, _pool(valid.to(student.dtype), side).flatten(1) >= 0.5 - _TINY


def unit(x: Tensor, dim: int) -> Tensor:
    """`x` over its L2 norm along `dim`; zero where there is none to speak of."""
    norm = x.norm(dim=dim, keepdim=True)
    return torch.where(norm > _TINY, x / norm.clamp(min=_TINY), x.new_zeros(()))


def gram(tokens: Tensor) -> Tensor:
    """Similarity of every two tokens of an image: (B,C,N) -> (B,N,N)."""
    return matmul(tokens.transpose(1, 2), tokens)


def _pool(x: Tensor, side: int) -> Tensor:
    """Average over squares; those at the lower and right border are cut off there."""
    return x if side == 1 else F.avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)
