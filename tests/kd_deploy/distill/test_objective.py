"""The objective: each term by name, its weight, its schedule, and what ignored pixels may do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.config.terms import CwdTerm, KdTerm, Schedule, Supervised
from kd_deploy.distill.methods import METHODS
from kd_deploy.distill.objective import Objective, cross_entropy
from kd_deploy.models.segmenter import Outputs


def outputs(seed: int, classes: int = 4) -> Outputs:
    logits = torch.randn(2, classes, 8, 12, generator=torch.Generator().manual_seed(seed))
    return Outputs(logits.requires_grad_(), {"logits": logits})


def labels(ignored: int = 3) -> Tensor:
    drawn = torch.randint(0, 4, (2, 32, 48), generator=torch.Generator().manual_seed(9)).to(torch.uint8)
    drawn[:, :ignored] = 255
    return drawn


def terms(**changes: Any) -> list[Any]:
    return [KdTerm(method="kd", weight=2.0, **changes), CwdTerm(method="cwd", weight=3.0)]


def test_cross_entropy_is_pytorchs_mean_over_the_labelled_pixels() -> None:
    logits, truth = outputs(0).logits, labels()
    full = F.interpolate(logits, size=(32, 48), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(full, truth.long(), ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, truth), expected)


def test_cross_entropy_without_a_labelled_pixel_is_zero_with_a_gradient() -> None:
    logits = outputs(0).logits
    loss = cross_entropy(logits, labels(32))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_the_total_is_the_weighted_sum_of_named_terms() -> None:
    student, teacher, truth = outputs(0), outputs(1), labels()
    losses = Objective(Supervised(weight=0.5), terms())(student, teacher, truth, progress=0.0)
    assert list(losses.raw) == list(losses.weighted) == ["ce", "kd", "cwd"]
    expected_kd = METHODS["kd"](student.logits, teacher.logits, truth, temperature=1.0)
    torch.testing.assert_close(losses.raw["kd"], expected_kd)
    raw = losses.raw
    torch.testing.assert_close(losses.total, 0.5 * raw["ce"] + 2 * raw["kd"] + 3 * raw["cwd"])
    torch.testing.assert_close(losses.weighted["cwd"], 3 * raw["cwd"])


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_a_schedule_moves_its_own_term_alone(progress: float, factor: float) -> None:
    schedule = Schedule(kind="linear", start=1.0, end=0.0)
    losses = Objective(Supervised(), terms(schedule=schedule))(
        outputs(0), outputs(1), labels(), progress=progress
    )
    torch.testing.assert_close(losses.weighted["kd"], 2 * factor * losses.raw["kd"])
    torch.testing.assert_close(losses.weighted["cwd"], 3 * losses.raw["cwd"])
    torch.testing.assert_close(losses.weighted["ce"], losses.raw["ce"])


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    student, teacher = outputs(0), outputs(1)
    Objective(Supervised(), terms())(student, teacher, labels(), progress=0.0).total.backward()
    assert student.logits.grad is not None
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_padding_of_a_crop_reaches_no_term() -> None:
    """Whatever the networks say on ignored pixels, a margin of the upsampling apart, changes nothing."""
    truth = labels(16)
    objective = Objective(Supervised(), [KdTerm(method="kd", weight=1.0)])
    plain, changed = outputs(0), outputs(0)
    with torch.no_grad():
        changed.logits[:, :, :3] += 100 * torch.randn(2, 4, 3, 12)
    a = objective(plain, outputs(1), truth, progress=0.0)
    b = objective(changed, outputs(1), truth, progress=0.0)
    assert a.raw.keys() == b.raw.keys() == {"ce", "kd"}
    for name in a.raw:
        torch.testing.assert_close(a.raw[name], b.raw[name])


def test_terms_need_a_teacher() -> None:
    with pytest.raises(ValueError, match="kd: needs a teacher"):
        Objective(Supervised(), terms())(outputs(0), None, labels(), progress=0.0)
    losses = Objective(Supervised(), [])(outputs(0), None, labels(), progress=0.0)
    assert list(losses.raw) == ["ce"]
    assert torch.equal(losses.total, losses.raw["ce"])
