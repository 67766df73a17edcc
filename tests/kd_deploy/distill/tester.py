"""What every loss must do: it runs against a slow NumPy version written from its formula.

A test file subclasses one of the testers as `Test...`, with `loss` and `reference` as static methods:
    LogitLossTester        student and teacher have the same channels
      ShiftInvariantTester   ... and a constant added to every position, or every class, changes nothing
    FeatureLossTester      they need not
      RelationTester         ... and each is compared with itself first: the order of the channels is free
`WithoutLabels` beside them is for the losses whose labels may be None.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kd_deploy.distill.inputs import random_labels, random_tensor
from tests.kd_deploy.distill.reference import IGNORED, Array, modules_called, valid_positions

Case = tuple[Tensor, Tensor, Tensor]


class LossTester:
    """What holds for every loss; the testers below add what holds for their kind."""

    loss: ClassVar[Callable[..., Tensor]]
    reference: ClassVar[Callable[[Array, Array, Any], float]]
    extra_channels: ClassVar[int]
    """How many channels the teacher has more than the student."""
    crosses_images: ClassVar[bool] = False
    """Whether the images of a batch are compared with one another, by definition."""
    vacuous: ClassVar[tuple[int, ...]] = ()
    """Numbers of channels for which the loss is always zero, by definition."""

    def case(
        self, *, batch: int = 2, channels: int = 4, ignored: float = 0.4, size: tuple[int, int] = (5, 6)
    ) -> Case:
        """Student (B,C,*size), teacher (B,C + extra,*size), labels (B,13,17)."""
        rng = np.random.default_rng(0)
        student = random_tensor(rng, batch, channels, *size)
        teacher = random_tensor(rng, batch, channels + self.extra_channels, *size)
        return student, teacher, random_labels(rng, (batch, 13, 17), channels, ignored)

    def value_and_gradient(
        self, student: Tensor, teacher: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        student = student.clone().requires_grad_()
        value = self.loss(student, teacher, labels)
        (gradient,) = torch.autograd.grad(value, student)
        return value.detach(), gradient

    def expected(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> float:
        arrays = (student.double().numpy(), teacher.double().numpy())
        return self.reference(*arrays, None if labels is None else labels.numpy())

    def assert_equals_reference(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> float:
        """In the inputs' precision and in float64; the value."""
        value, exact = self.loss(student, teacher, labels), self.expected(student, teacher, labels)
        assert value.dtype == torch.promote_types(student.dtype, torch.float32)
        assert value.shape == ()
        np.testing.assert_allclose(value.item(), exact, rtol=1e-4, atol=1e-6)
        double = self.loss(student.double(), teacher.double(), labels)
        assert double.dtype == torch.float64
        np.testing.assert_allclose(double.item(), exact, rtol=1e-6, atol=1e-9)
        return exact

    @pytest.mark.parametrize("channels", [2, 19, 150])
    def test_equals_the_reference(self, channels: int) -> None:
        value = self.assert_equals_reference(*self.case(channels=channels))
        assert value > 1e-4 or channels in self.vacuous

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
        batch, channels = draw(1, 3), draw(2, 5)
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
        student, teacher = (
            random_tensor(rng, batch, channels + extra, draw(1, 6), draw(1, 6)).to(dtype)
            for extra in (0, self.extra_channels)
        )
        ignored = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
        labels = random_labels(rng, (batch, draw(1, 14), draw(1, 14)), draw(1, channels), ignored)
        self.assert_equals_reference(student, teacher, labels)

    def test_the_reference_is_independent(self) -> None:
        arrays = [x.numpy() for x in self.case()]
        with modules_called() as names:
            self.reference(*arrays)
        assert "numpy" in names
        assert not names & {"torch", "kd_deploy"}

    def test_gradient_is_the_reference_s(self) -> None:
        student, teacher, labels = self.case(channels=3, size=(4, 3))
        student, teacher = student.double(), teacher[..., :2].double()
        _, gradient = self.value_and_gradient(student, teacher, labels)
        step = 1e-5
        expected = np.zeros(student.shape)
        for index in np.ndindex(expected.shape):
            sides = student.clone(), student.clone()
            sides[0][index] += step
            sides[1][index] -= step
            above, below = (self.expected(side, teacher, labels) for side in sides)
            expected[index] = (above - below) / (2 * step)
        largest = np.abs(expected).max()
        assert largest > 1e-4
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-5 * largest)

    def test_gradcheck(self) -> None:
        student, teacher, labels = self.case(channels=3, size=(3, 4))
        student, teacher = student.double().requires_grad_(), teacher[..., :2, :].double()
        assert torch.autograd.gradcheck(lambda z: self.loss(z, teacher, labels), student)

    def test_gradients_reach_the_student_only(self) -> None:
        student, teacher, labels = self.case()
        student.requires_grad_()
        teacher.requires_grad_()
        self.loss(student, teacher, labels).backward()
        assert student.grad is not None
        assert student.grad.abs().max() > 0
        assert teacher.grad is None

    @pytest.mark.parametrize("junk", [7.0, float("nan"), float("inf"), -float("inf")])
    def test_ignored_positions_change_nothing(self, junk: float) -> None:
        student, teacher, labels = self.case()
        valid = torch.from_numpy(np.stack([valid_positions(truth, 5, 6) for truth in labels.numpy()]))
        assert 0 < valid.float().mean() < 1
        value, gradient = self.value_and_gradient(student, teacher, labels)
        other = self.value_and_gradient(
            student.where(valid[:, None], torch.tensor(junk)),
            teacher.where(valid[:, None], torch.tensor(-junk)),
            labels,
        )
        assert torch.equal(other[0], value)
        assert torch.equal(other[1], gradient)
        assert gradient.movedim(1, -1)[~valid].abs().max() == 0
        assert gradient.movedim(1, -1)[valid].abs().max() > 0

    @pytest.mark.parametrize("junk", [1.0, float("nan")])
    def test_an_image_that_is_all_ignored_is_exactly_zero(self, junk: float) -> None:
        student, teacher, labels = self.case(ignored=0.2)
        labels[0] = IGNORED
        student[0] *= junk
        teacher[0] *= junk
        alone = self.value_and_gradient(student[:1], teacher[:1], labels[:1])
        assert alone[0] == 0
        assert torch.equal(alone[1], torch.zeros_like(student[:1]))
        value, gradient = self.value_and_gradient(student, teacher, labels)
        share = 1 / 4 if self.crosses_images else 1 / 2
        torch.testing.assert_close(value, share * self.loss(student[1:], teacher[1:], labels[1:]))
        assert value > 1e-4
        assert torch.equal(gradient[0], torch.zeros_like(student[0]))
        assert gradient[1].abs().max() > 0

    def test_a_batch_is_the_mean_of_its_images_unless_it_crosses_them(self) -> None:
        student, teacher, labels = self.case(batch=3)
        labels[1, :9] = IGNORED
        single = [self.loss(student[b : b + 1], teacher[b : b + 1], labels[b : b + 1]) for b in range(3)]
        mean = torch.stack(single).mean()
        assert torch.isclose(self.loss(student, teacher, labels), mean, rtol=1e-5) != self.crosses_images

    def test_autocast_changes_nothing(self) -> None:
        student, teacher, labels = self.case()
        teacher = teacher[..., ::2, ::2]  # so that the resize runs too
        value, gradient = self.value_and_gradient(student, teacher, labels)
        student.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            other = self.loss(student, teacher, labels)
        assert other.dtype == torch.float32
        assert torch.equal(other, value)
        other.backward()  # outside autocast, as torch asks for
        assert student.grad is not None
        assert torch.equal(student.grad, gradient)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_raised_to_float32(self, dtype: torch.dtype) -> None:
        student, teacher, labels = self.case()
        student, teacher = student.to(dtype), teacher[..., ::2, ::2].to(dtype)
        value, gradient = self.value_and_gradient(student, teacher, labels)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        raised, exact = self.value_and_gradient(student.float(), teacher.float(), labels)
        assert torch.equal(value, raised)
        assert torch.equal(gradient, exact.to(dtype))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
    def test_any_integer_labels(self, dtype: torch.dtype) -> None:
        student, teacher, labels = self.case()
        value = self.loss(student, teacher, labels.to(dtype))
        assert torch.equal(value, self.loss(student, teacher, labels))

    def test_labels_of_another_shape_are_refused(self) -> None:
        student, teacher, labels = self.case()
        for other in (labels[:1], labels[0], labels[:, None]):
            with pytest.raises(ValueError, match=r"labels are \("):
                self.loss(student, teacher, other)

    def test_a_teacher_of_another_batch_is_refused(self) -> None:
        student, teacher, labels = self.case()
        with pytest.raises(ValueError, match=r"the student has 2 images, the teacher 1"):
            self.loss(student, teacher[:1], labels)


class EqualInputs:
    """Beside a tester: nothing to learn from a teacher that says the same."""

    rounding: ClassVar[float] = 0.0
    """What equal inputs may cost in float32."""

    def test_equal_inputs_cost_nothing(self: Any) -> None:
        student, _, labels = self.case()
        value, gradient = self.value_and_gradient(student, student, labels)
        assert value.abs() <= self.rounding
        assert gradient.abs().max() < 1e-6


class WithoutLabels:
    """Beside a tester: None for labels is as if nothing were ignored."""

    def test_without_labels_every_position_counts(self: Any) -> None:
        student, teacher, labels = self.case(ignored=0)
        assert self.assert_equals_reference(student, teacher, None) > 1e-4
        assert torch.equal(self.loss(student, teacher, None), self.loss(student, teacher, labels))


class LogitLossTester(EqualInputs, LossTester):
    """Channels are classes, compared one with one."""

    extra_channels = 0

    def test_different_class_counts_are_refused(self) -> None:
        student, teacher, labels = self.case()
        with pytest.raises(ValueError, match=r"student has 4 classes, the teacher 3"):
            self.loss(student, teacher[:, :3], labels)


class ShiftInvariantTester(WithoutLabels, LogitLossTester):
    """The softmax takes the logits as they are."""

    invariant_to: ClassVar[Literal["position", "class"]]
    """What one constant is added to: all logits of a position, or all of a class."""

    def test_an_added_constant_changes_nothing(self) -> None:
        student, teacher, labels = self.case()
        value, gradient = self.value_and_gradient(student, teacher, labels)
        shape = (2, 1, 5, 6) if self.invariant_to == "position" else (2, 4, 1, 1)
        constant = random_tensor(np.random.default_rng(3), *shape)
        shifted = self.value_and_gradient(student + constant, teacher - constant, labels)
        torch.testing.assert_close(shifted[0], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(shifted[1], gradient, rtol=1e-4, atol=1e-6)


class FeatureLossTester(LossTester):
    """The teacher has more channels than the student."""

    extra_channels = 2


class RelationTester(EqualInputs, FeatureLossTester):
    """Channels are never compared with channels."""

    def test_the_order_of_the_teacher_s_channels_is_free(self) -> None:
        student, teacher, labels = self.case()
        value, gradient = self.value_and_gradient(student, teacher, labels)
        permuted = self.value_and_gradient(student, teacher[:, [5, 3, 0, 1, 4, 2]], labels)
        torch.testing.assert_close(permuted[0], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(permuted[1], gradient, rtol=1e-4, atol=1e-6)
