import numpy as np
import pytest
import torch

from kd_deploy.distill import positions
from kd_deploy.distill.positions import valid_positions
from tests.kd_deploy.distill import reference
from tests.kd_deploy.distill.inputs import random_labels, random_tensor


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1), (13, 17), (20, 2)])
def test_equals_the_reference(size: tuple[int, int]) -> None:
    labels = random_labels(np.random.default_rng(0), (3, 13, 17), 4, 0.6)
    valid = valid_positions(labels, torch.zeros(3, 2, *size))
    assert valid.dtype == torch.bool
    expected = [reference.valid_positions(truth, *size) for truth in labels.numpy()]
    assert np.array_equal(valid[:, 0].numpy(), expected)


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


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 1, 8, 8), (8, 8)])
def test_labels_that_are_not_one_map_for_each_image_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"labels are \(.*\), expected \(B, H, W\) with B = 2"):
        valid_positions(torch.zeros(shape), torch.zeros(2, 3, 4, 4))


def test_the_teacher_is_resized_and_detached() -> None:
    rng = np.random.default_rng(0)
    student, teacher = random_tensor(rng, 2, 3, 5, 6), random_tensor(rng, 2, 4, 3, 8)
    s, t, valid = positions.aligned(student, teacher.requires_grad_(), None, 255)
    assert torch.equal(s, student)
    assert not t.requires_grad
    assert valid.all()
    expected = [reference.resize(x, 5, 6) for x in teacher.detach().double().numpy()]
    np.testing.assert_allclose(t.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_pair_is_zero_where_it_is_ignored() -> None:
    labels = torch.tensor([[[0, 255], [1, 255]]])
    student, teacher = torch.full((1, 1, 2, 2), float("nan")), torch.ones(1, 2, 2, 2)
    student[..., 0] = 5
    s, t, valid = positions.pair(student, teacher, labels, 255)
    assert valid.tolist() == [[[[True, False], [True, False]]]]
    assert s.tolist() == [[[[5, 0], [5, 0]]]]
    assert t.tolist() == [[[[1, 0], [1, 0]], [[1, 0], [1, 0]]]]


def test_logits_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="the student has 3 classes, the teacher 4"):
        positions.check_classes(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2))
    positions.check_classes(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("student", "teacher", "computed"),
    [
        (torch.float16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float16, torch.float32),
        (torch.float32, torch.float64, torch.float32),
        (torch.float64, torch.float32, torch.float64),
    ],
)
def test_both_are_computed_in_the_student_s_precision(
    student: torch.dtype, teacher: torch.dtype, computed: torch.dtype
) -> None:
    pair = torch.zeros(1, 2, 2, 2, dtype=student), torch.zeros(1, 2, 2, 2, dtype=teacher)
    s, t, _ = positions.pair(*pair, None, 255)
    assert s.dtype == t.dtype == computed


def test_a_row_without_a_valid_entry_diverges_by_zero() -> None:
    rows = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([True, True, False, False])
    divergence = positions.row_divergence(rows[0], rows[1], valid)
    torch.testing.assert_close(divergence, positions.row_divergence(*rows[..., :2], torch.tensor(True)))
    assert divergence.min() > 0
    assert positions.row_divergence(rows[0], rows[1], torch.zeros(4, dtype=torch.bool)).tolist() == [0, 0, 0]


def test_a_mean_over_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, 3.0, float("nan")], [float("nan")] * 3])
    valid = torch.tensor([[True, True, False], [False] * 3])
    assert positions.masked_mean(values, valid).tolist() == [2, 0]


def test_what_is_invalid_has_no_share_however_low_the_others_are() -> None:
    rows = torch.tensor([[[1.0, 2, 0, 4], [3, 0, 5, 1]]]).expand(2, 2, 4).clone()
    rows[1] = rows[1].flip(0)
    valid = torch.tensor([True, True, True, False])
    divergence = positions.row_divergence(rows[0], rows[1], valid)
    assert divergence.min() > 0.1
    torch.testing.assert_close(positions.row_divergence(rows[0] - 1e6, rows[1] - 1e6, valid), divergence)
