import numpy as np
import pytest
import torch

from kd_deploy.distill.tokens import gram, token_pair
from tests.kd_deploy.distill.inputs import random_labels, random_tensor
from tests.kd_deploy.distill.reference import IGNORED, tokens, valid_positions


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 6), (8, 8), (9, 16), (33, 2)])
@pytest.mark.parametrize("max_tokens", [1, 4, 20, 64, 1024])
def test_equals_the_reference_and_is_few_enough(height: int, width: int, max_tokens: int) -> None:
    rng = np.random.default_rng(0)
    student, teacher = random_tensor(rng, 2, 3, height, width), random_tensor(rng, 2, 5, height, width)
    labels = random_labels(rng, (2, 26, 34), 4, 0.4)
    s, t, valid = token_pair(student, teacher, labels, max_tokens, IGNORED)
    assert s.shape[2] == t.shape[2] == valid.shape[1] <= max_tokens
    assert s.shape[2] * 4 > min(max_tokens, height * width)  # one pooling more than needed would leave fewer
    for b, truth in enumerate(labels.numpy()):
        mask = valid_positions(truth, height, width)
        for x, feature in ((s, student), (t, teacher)):
            units, expected = tokens(feature[b].double().numpy(), mask, max_tokens)
            np.testing.assert_allclose(x[b].numpy().T, units, rtol=1e-4, atol=1e-5)
            assert np.array_equal(valid[b].numpy(), expected)


def test_tokens_have_unit_norm() -> None:
    rng = np.random.default_rng(0)
    s, t, valid = token_pair(
        1e-3 * random_tensor(rng, 2, 3, 8, 8), 1e3 * random_tensor(rng, 2, 5, 4, 4), None, 16, IGNORED
    )
    assert valid.all()
    torch.testing.assert_close(s.norm(dim=1), torch.ones(2, 16))
    torch.testing.assert_close(t.norm(dim=1), torch.ones(2, 16))
    torch.testing.assert_close(gram(s).diagonal(dim1=1, dim2=2), torch.ones(2, 16))


def test_a_token_is_the_mean_of_its_valid_positions() -> None:
    """Of each 2 x 2 square one position, two and three are ignored: the last is no token any more."""
    student = torch.zeros(1, 2, 2, 6)
    student[0, 0], student[0, 1] = 3, 4
    labels = torch.zeros(1, 2, 6, dtype=torch.int64)
    for i, j in ((0, 0), (0, 2), (1, 2), (0, 4), (1, 4), (1, 5)):
        labels[0, i, j] = IGNORED
        student[0, :, i, j] = torch.tensor([-9e9, float("nan")])
    s, _, valid = token_pair(student, student, labels, 3, IGNORED)
    assert valid.tolist() == [[True, True, False]]
    torch.testing.assert_close(s[0].T, torch.tensor([[0.6, 0.8]] * 3))


def test_a_feature_without_a_direction_has_a_finite_gradient() -> None:
    student = torch.zeros(1, 2, 2, 2, requires_grad=True)
    s, _, _ = token_pair(student, torch.ones(1, 2, 2, 2), None, 4, IGNORED)
    assert s.abs().max() == 0
    (gradient,) = torch.autograd.grad(s.sum(), student)
    assert gradient.isfinite().all()


def test_similarities_keep_their_precision_under_autocast() -> None:
    x = random_tensor(np.random.default_rng(0), 1, 3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        similarity = gram(x)
    assert similarity.dtype == torch.float32
    assert torch.equal(similarity, gram(x))
