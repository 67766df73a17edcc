"""What every logit loss must do: it runs against a slow NumPy version written from its formula.

A test file subclasses `LogitLossTester` with the loss and its reference. The `reference_` helpers belong to
the references: float64, loops, no torch.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

IGNORED = 255
Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def windows(size: int, count: int) -> list[slice]:
    """The `count` windows of an adaptive pool over `size` entries."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def reference_pool(plane: Array, height: int, width: int) -> Array:
    """Adaptive average pool of (H,W) to (height,width)."""
    rows, columns = windows(plane.shape[0], height), windows(plane.shape[1], width)
    return np.array([[plane[row, column].mean() for column in columns] for row in rows])


def reference_valid(labels: Labels, height: int, width: int) -> NDArray[np.bool_]:
    """Valid positions (height,width) of one image's labels (H,W)."""
    return reference_pool((labels != IGNORED).astype(float), height, width) >= 0.5


def reference_resize(logits: Array, height: int, width: int) -> Array:
    """Bilinear resize of (C,h,w), pixel centres aligned and edges repeated (align_corners=False)."""
    _, rows, columns = logits.shape
    resized = np.empty((len(logits), height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            above = logits[:, top, left] * (1 - x + left) + logits[:, top, right] * (x - left)
            below = logits[:, bottom, left] * (1 - x + left) + logits[:, bottom, right] * (x - left)
            resized[:, i, j] = above * (1 - y + top) + below * (y - top)
    return resized


def reference_kl(teacher: Array, student: Array) -> float:
    """KL(softmax(teacher) || softmax(student)) of two vectors, 0 where they are empty."""
    if not len(teacher):
        return 0.0
    p, q = (np.exp(z - z.max()) / np.exp(z - z.max()).sum() for z in (teacher, student))
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def images(student: Array, teacher: Array, labels: Labels | None) -> Iterator[tuple[Array, Array, Any]]:
    """Student (C,h,w), teacher on its grid and labels (H,W), image by image; None ignores nothing."""
    height, width = student.shape[-2:]
    for b in range(len(student)):
        truth = np.zeros((height, width), int) if labels is None else labels[b]
        yield student[b], reference_resize(teacher[b], height, width), truth


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


def random_logits(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.normal(0, 3, shape).astype(np.float32))


@contextmanager
def modules_called() -> Iterator[set[str]]:
    """The top-level names of the modules whose functions are called inside the block."""
    names: set[str] = set()

    def note(frame: Any, event: str, function: Any) -> None:
        module = frame.f_globals.get("__name__") if event == "call" else getattr(function, "__module__", None)
        names.add((module or "").split(".")[0])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(before)


class LogitLossTester:
    """Subclass it as `Test...`, with `loss` and `reference` as static methods."""

    loss: ClassVar[Callable[..., Tensor]]
    reference: ClassVar[Callable[[Array, Array, Any], float]]

    def case(
        self, seed: int = 0, batch: int = 2, classes: int = 4, ignored: float = 0.4
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Student, teacher (B,C,5,6), labels (B,13,17)."""
        rng = np.random.default_rng(seed)
        logits = (random_logits(rng, batch, classes, 5, 6) for _ in range(2))
        return *logits, random_labels(rng, (batch, 13, 17), classes, ignored)

    def value_and_gradient(
        self, student: Tensor, teacher: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        student = student.clone().requires_grad_()
        value = self.loss(student, teacher, labels)
        (gradient,) = torch.autograd.grad(value, student)
        return value.detach(), gradient

    def assert_equals_reference(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> float:
        value = self.loss(student, teacher, labels)
        assert value.dtype == torch.float32
        assert value.shape == ()
        arrays = (student.double().numpy(), teacher.double().numpy())
        expected = self.reference(*arrays, None if labels is None else labels.numpy())
        np.testing.assert_allclose(value.item(), expected, rtol=1e-4, atol=1e-6)
        return expected

    @pytest.mark.parametrize("classes", [2, 19, 150])
    def test_equals_the_reference(self, classes: int) -> None:
        assert self.assert_equals_reference(*self.case(classes=classes)) > 1e-3

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_equals_the_reference_on_any_shape(self, data: st.DataObject) -> None:
        def draw(low: int, high: int) -> int:
            return data.draw(st.integers(low, high))

        rng = np.random.default_rng(draw(0, 9))
        batch, classes = draw(1, 3), draw(2, 5)
        student, teacher = (random_logits(rng, batch, classes, draw(1, 6), draw(1, 6)) for _ in range(2))
        ignored = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
        labels = random_labels(rng, (batch, draw(1, 14), draw(1, 14)), classes, ignored)
        self.assert_equals_reference(student, teacher, labels)

    def test_the_reference_is_independent(self) -> None:
        arrays = [x.numpy() for x in self.case()]
        with modules_called() as names:
            self.reference(*arrays)
        assert "numpy" in names
        assert not names & {"torch", "kd_deploy"}

    def test_gradient_is_the_reference_s(self) -> None:
        rng = np.random.default_rng(1)
        student, teacher = random_logits(rng, 2, 3, 3, 2), random_logits(rng, 2, 3, 3, 2)
        labels = random_labels(rng, (2, 10, 7), 3, 0.4)
        _, gradient = self.value_and_gradient(student, teacher, labels)
        point, step = student.double().numpy(), 1e-5
        expected = np.zeros_like(point)
        for index in np.ndindex(point.shape):
            sides = [point.copy(), point.copy()]
            sides[0][index] += step
            sides[1][index] -= step
            above, below = (self.reference(side, teacher.double().numpy(), labels.numpy()) for side in sides)
            expected[index] = (above - below) / (2 * step)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-3, atol=1e-5)

    def test_gradients_reach_the_student_only(self) -> None:
        student, teacher, labels = self.case()
        student.requires_grad_()
        teacher.requires_grad_()
        self.loss(student, teacher, labels).backward()
        assert student.grad is not None
        assert student.grad.abs().max() > 0
        assert teacher.grad is None

    def test_equal_logits_cost_nothing(self) -> None:
        student, _, labels = self.case()
        value, gradient = self.value_and_gradient(student, student, labels)
        assert value == 0
        assert gradient.abs().max() < 1e-6

    @pytest.mark.parametrize("junk", [7.0, float("nan"), float("inf"), -float("inf")])
    def test_ignored_positions_change_nothing(self, junk: float) -> None:
        student, teacher, labels = self.case()
        valid = np.stack([reference_valid(truth, 5, 6) for truth in labels.numpy()])
        ignored = torch.from_numpy(~valid)[:, None].expand_as(student)
        assert 0 < ignored.float().mean() < 1
        value, gradient = self.value_and_gradient(student, teacher, labels)
        student[ignored], teacher[ignored] = junk, -junk
        other = self.value_and_gradient(student, teacher, labels)
        assert torch.equal(other[0], value)
        assert torch.equal(other[1], gradient)
        assert gradient[ignored].abs().max() == 0
        assert gradient[~ignored].abs().max() > 0

    @pytest.mark.parametrize("junk", [1.0, float("nan")])
    def test_an_image_that_is_all_ignored_is_exactly_zero(self, junk: float) -> None:
        student, teacher, labels = self.case(ignored=0.2)
        labels[0] = IGNORED
        student[0] *= junk
        alone = self.value_and_gradient(student[:1], teacher[:1], labels[:1])
        assert alone[0] == 0
        assert torch.equal(alone[1], torch.zeros_like(student[:1]))
        value, gradient = self.value_and_gradient(student, teacher, labels)
        torch.testing.assert_close(value, self.loss(student[1:], teacher[1:], labels[1:]) / 2)
        assert torch.equal(gradient[0], torch.zeros_like(student[0]))
        assert gradient[1].abs().max() > 0

    def test_a_batch_is_the_mean_of_its_images(self) -> None:
        student, teacher, labels = self.case(batch=3)
        labels[1, :9] = IGNORED
        single = [self.loss(student[b : b + 1], teacher[b : b + 1], labels[b : b + 1]) for b in range(3)]
        torch.testing.assert_close(self.loss(student, teacher, labels), torch.stack(single).mean())

    def test_autocast_changes_nothing(self) -> None:
        student, teacher, labels = self.case()
        teacher = teacher[..., ::2, ::2]  # so that the resize runs too
        value, gradient = self.value_and_gradient(student, teacher, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            other = self.value_and_gradient(student, teacher, labels)
        assert other[0].dtype == torch.float32
        assert torch.equal(other[0], value)
        assert torch.equal(other[1], gradient)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
    def test_any_float_dtype_is_computed_in_float32(self, dtype: torch.dtype) -> None:
        student, teacher, labels = self.case()
        student, teacher = student.to(dtype), teacher.to(dtype)
        value, gradient = self.value_and_gradient(student, teacher, labels)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        assert torch.equal(value, self.loss(student.float(), teacher.float(), labels))

    def test_different_class_counts_are_refused(self) -> None:
        student, teacher, labels = self.case()
        with pytest.raises(ValueError, match=r"student has 4 classes, the teacher 3"):
            self.loss(student, teacher[:, :3], labels)


class LabelFreeTester(LogitLossTester):
    """For the losses that need no labels and whose softmax takes the logits as they are."""

    invariant_to: ClassVar[Literal["position", "class"]]

    def test_without_labels_every_position_counts(self) -> None:
        student, teacher, labels = self.case(ignored=0)
        assert self.assert_equals_reference(student, teacher, None) > 1e-3
        assert torch.equal(self.loss(student, teacher, None), self.loss(student, teacher, labels))

    def test_an_added_constant_changes_nothing(self) -> None:
        student, teacher, labels = self.case()
        value, gradient = self.value_and_gradient(student, teacher, labels)
        shape = (2, 1, 5, 6) if self.invariant_to == "position" else (2, 4, 1, 1)
        constant = random_logits(np.random.default_rng(3), *shape)
        shifted = self.value_and_gradient(student + constant, teacher - constant, labels)
        torch.testing.assert_close(shifted[0], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(shifted[1], gradient, rtol=1e-4, atol=1e-6)
