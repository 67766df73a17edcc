from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from kd_deploy.distill.methods.icsd import icsd_loss, interclass_matrix
from tests.kd_deploy.distill.inputs import random_labels, random_tensor
from tests.kd_deploy.distill.reference import Array, Bools, images, kl, mean
from tests.kd_deploy.distill.tester import ShiftInvariantTester


def reference_matrix(logits: Array, valid: Bools, tau: float) -> Array:
    rows = [plane[valid] / tau for plane in logits]
    return np.array([[kl(a, b) for b in rows] for a in rows])


def reference(
    student: Array, teacher: Array, labels: Any, tau: float = 1.0, normalize: str = "rows"
) -> float:
    losses = []
    for zs, zt, valid in images(student, teacher, labels):
        matrices = [reference_matrix(z, valid, tau) for z in (zs, zt)]
        if normalize == "rows":
            norms = [np.linalg.norm(s, axis=1, keepdims=True) for s in matrices]
            matrices = [np.where(n > 1e-5, s / n.clip(1e-5), 0) for s, n in zip(matrices, norms, strict=True)]
        losses.append(float(np.mean((matrices[1] - matrices[0]) ** 2)))
    return mean(losses)


class TestICSD(ShiftInvariantTester):
    loss = staticmethod(icsd_loss)
    reference = staticmethod(reference)
    invariant_to = "class"
    vacuous = (2,)  # a row of unit norm with a zero on the diagonal has one form


class TestICSDUnnormalized(ShiftInvariantTester):
    loss = staticmethod(partial(icsd_loss, tau=2.5, normalize="none"))
    reference = staticmethod(partial(reference, tau=2.5, normalize="none"))
    invariant_to = "class"


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_the_matrix_equals_the_reference(tau: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = random_tensor(rng, 2, 5, 5, 6), random_labels(rng, (2, 13, 17), 5, 0.4)
    matrix = interclass_matrix(logits, labels, tau=tau)
    assert matrix.shape == (2, 5, 5)
    assert matrix.dtype == torch.float32
    arrays = logits.double().numpy()
    expected = [reference_matrix(z, valid, tau) for z, _, valid in images(arrays, arrays, labels.numpy())]
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (matrix - matrix.transpose(1, 2)).abs().max() > 0.1


def test_the_matrix_is_as_good_as_in_float64() -> None:
    logits = 5 * torch.randn(1, 19, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    exact, matrix = interclass_matrix(logits), interclass_matrix(logits.float())
    off_diagonal = ~torch.eye(19, dtype=torch.bool)
    error = (matrix.double() - exact).abs()[0][off_diagonal] / exact[0][off_diagonal]
    assert exact[0][off_diagonal].min() > 1
    assert error.max() < 1e-4


def test_an_unknown_normalization_is_refused() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    with pytest.raises(ValueError, match="unknown normalize 'columns'"):
        icsd_loss(logits, logits, normalize="columns")  # type: ignore[arg-type]


def test_a_class_s_constant_costs_no_precision() -> None:
    logits = torch.randint(-2000, 2000, (1, 5, 8, 8), generator=torch.Generator().manual_seed(0)) / 256
    shifted = logits + 1024 * torch.arange(-2, 3).view(1, 5, 1, 1)  # exact in float32
    assert torch.equal(interclass_matrix(shifted), interclass_matrix(logits))
