from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_deploy.distill.methods.brd import boundary_loss, relation_loss
from tests.kd_deploy.distill.inputs import random_labels, random_tensor
from tests.kd_deploy.distill.reference import (
    Array,
    Bools,
    images,
    kl,
    labels_or_none,
    mean,
    resize,
    tokens,
    valid_positions,
)
from tests.kd_deploy.distill.tester import RelationTester, WithoutLabels


def strength(feature: Array, valid: Bools) -> Array:
    """b of one image: how far each valid position is from the mean of its valid 3 x 3 neighbours, borders repeated."""
    _, height, width = feature.shape
    b = np.zeros((height, width))
    for i, j in np.argwhere(valid):
        around = [
            (min(max(y, 0), height - 1), min(max(x, 0), width - 1))
            for y in range(i - 1, i + 2)
            for x in range(j - 1, j + 2)
        ]
        average = np.mean([feature[:, y, x] for y, x in around if valid[y, x]], axis=0)
        b[i, j] = np.sqrt(np.mean((feature[:, i, j] - average) ** 2) + 1e-6)
    return b / b[valid].mean() if valid.any() else b


def reference_boundary(student: Array, teacher: Array, labels: Any, tau: float = 1.0) -> float:
    losses = []
    for fs, ft, truth in zip(student, teacher, labels_or_none(labels, len(student)), strict=True):
        valid, known = (valid_positions(truth, *f.shape[1:]) for f in (fs, ft))
        bs, bt = strength(fs, valid), strength(ft, known)
        weights = resize(known[None].astype(float), *valid.shape)[0]
        valid &= weights > 1e-4  # the teacher has something to say
        bt = resize(bt[None], *valid.shape)[0] / weights.clip(1e-4)
        losses.append(kl(bt[valid] / tau, bs[valid] / tau))
    return mean(losses)


def reference_relation(
    student: Array, teacher: Array, labels: Any, tau: float = 0.1, max_tokens: int = 1024
) -> float:
    losses = []
    for fs, ft, valid in images(student, teacher, labels):
        (s, ok), (t, _) = (tokens(f, valid, max_tokens) for f in (fs, ft))
        s, t = s[ok], t[ok]
        losses.append(mean([kl(t @ t[i] / tau, s @ s[i] / tau) for i in range(len(s))]))
    return mean(losses)


def one_level(student: Tensor, teacher: Tensor, labels: Tensor | None = None, *, tau: float = 1.0) -> Tensor:
    return boundary_loss([student], [teacher], labels, tau=tau)


class TestBoundaryLoss(WithoutLabels, RelationTester):
    loss = staticmethod(one_level)
    reference = staticmethod(reference_boundary)


class TestBoundaryLossAtTau03(WithoutLabels, RelationTester):
    loss = staticmethod(partial(one_level, tau=0.3))
    reference = staticmethod(partial(reference_boundary, tau=0.3))


class TestRelationLoss(WithoutLabels, RelationTester):
    loss = staticmethod(relation_loss)
    reference = staticmethod(reference_relation)


class TestRelationLossOfPooledTokens(WithoutLabels, RelationTester):
    loss = staticmethod(partial(relation_loss, tau=0.5, max_tokens=9))
    reference = staticmethod(partial(reference_relation, tau=0.5, max_tokens=9))


def test_levels_count_the_same() -> None:
    rng = np.random.default_rng(0)
    student = [
        random_tensor(rng, 2, 3, 8, 10),
        random_tensor(rng, 2, 5, 4, 5),
        random_tensor(rng, 2, 6, 2, 3),
    ]
    teacher = [
        random_tensor(rng, 2, 7, 8, 10),
        random_tensor(rng, 2, 2, 8, 10),
        random_tensor(rng, 2, 9, 1, 2),
    ]
    labels = random_labels(rng, (2, 32, 40), 4, 0.3)
    single = [one_level(s, t, labels) for s, t in zip(student, teacher, strict=True)]
    assert len(set(single)) == 3
    torch.testing.assert_close(boundary_loss(student, teacher, labels), torch.stack(single).mean())


def test_a_boundary_is_where_the_feature_changes() -> None:
    """A student whose step lies where the teacher's does beats one whose step lies elsewhere."""
    steps = torch.zeros(3, 1, 1, 6, 12)
    for step, at in zip(steps, (4, 4, 8), strict=True):
        step[..., at:] = 1
    teacher, same, other = steps
    assert one_level(3 * same + 1, teacher) < 1e-3
    assert one_level(other, teacher) > 0.1


@pytest.mark.parametrize(("student", "teacher"), [(0, 0), (1, 2), (2, 1)])
def test_other_levels_are_refused(student: int, teacher: int) -> None:
    level = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match=f"the same levels, one or more, not {student} and {teacher}"):
        boundary_loss([level] * student, [level] * teacher)


def test_faint_features_equal_the_reference() -> None:
    """Their differences are as small as the 1e-6 below the root."""
    student, teacher, labels = TestBoundaryLoss().case()
    assert TestBoundaryLoss().assert_equals_reference(3e-4 * student, 3e-4 * teacher, labels) > 1e-4


def test_flat_features_have_a_finite_gradient() -> None:
    student = torch.ones(1, 2, 4, 4, requires_grad=True)
    teacher = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(one_level(student, teacher), student)
    assert gradient.isfinite().all()
