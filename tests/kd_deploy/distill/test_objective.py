"""The objective: each term by name, its weight, its schedule, its taps, its adapters, its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from kd_deploy.config.terms import Auxiliary, CwdTerm, KdTerm, Ohem, Schedule, Supervised, Term
from kd_deploy.distill.methods import LEARNED, METHODS
from kd_deploy.distill.objective import Objective
from kd_deploy.distill.supervised import cross_entropy
from kd_deploy.models.segmenter import Outputs, Tap
from kd_deploy.runtime.errors import UserError

STUDENT = {"stage1": Tap(4, 6), "stage2": Tap(8, 8), "decoder": Tap(4, 5), "logits": Tap(4, 4)}
TEACHER = {"stage1": Tap(4, 9), "stage2": Tap(8, 7), "decoder": Tap(4, 3), "logits": Tap(4, 4)}


def outputs(seed: int, taps: dict[str, Tap] = STUDENT) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    found = {
        name: torch.randn(2, tap.channels, 32 // tap.stride, 48 // tap.stride, generator=generator)
        for name, tap in taps.items()
    }
    found = {name: x.requires_grad_() for name, x in found.items()}
    return Outputs(found["logits"], found)


def labels(ignored: int = 3) -> Tensor:
    blocks = torch.randint(0, 4, (2, 2, 3), generator=torch.Generator().manual_seed(9)).to(torch.uint8)
    drawn = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    drawn[:, :ignored] = 255
    return drawn


def term(method: str, **changes: Any) -> Any:
    return TypeAdapter(Term).validate_python({"method": method, "weight": 1.0, **changes})


def terms(**changes: Any) -> list[Any]:
    return [KdTerm(method="kd", weight=2.0, **changes), CwdTerm(method="cwd", weight=3.0)]


def make(distill: Sequence[Any] = (), supervised: Supervised | None = None, iterations: int = 4) -> Objective:
    torch.manual_seed(0)
    return Objective(
        supervised or Supervised(), distill, iterations=iterations, student=STUDENT, teacher=TEACHER
    )


def test_an_auxiliary_head_is_a_term_of_its_own() -> None:
    objective = make([term("kd")], Supervised(weight=0.5, auxiliary=Auxiliary(tap="stage2", weight=0.4)))
    assert [part.name for part in objective.parts] == ["ce", "auxiliary", "kd"]
    student = outputs(0)
    losses = objective(student, outputs(1, TEACHER), labels(), step=0, measure=True)
    torch.testing.assert_close(losses.weighted["auxiliary"], 0.5 * 0.4 * losses.raw["auxiliary"])
    losses.total.backward()
    assert student.taps["stage2"].grad is not None
    assert all(p.grad is not None for p in objective.adapters["auxiliary"].parameters())
    with pytest.raises(
        UserError, match=r"^supervised.auxiliary.tap: the auxiliary head reads the tap 'x', which"
    ):
        make([], Supervised(auxiliary=Auxiliary(tap="x")))


def test_class_weights_and_ohem_reach_cross_entropy() -> None:
    weights, ohem = (1.0, 2.0, 3.0, 0.5), Ohem(threshold=0.5)
    for chosen in ({"class_weights": weights}, {"ohem": ohem}):
        losses = make([], Supervised(**chosen))(outputs(0), None, labels(), step=0)
        given = {"class_weights": torch.tensor(weights)} if "class_weights" in chosen else {"ohem": ohem}
        torch.testing.assert_close(losses.total, cross_entropy(outputs(0).logits, labels(), **given))


def test_the_total_is_the_weighted_sum_of_named_terms() -> None:
    student, teacher, truth = outputs(0), outputs(1, TEACHER), labels()
    losses = make(terms(), Supervised(weight=0.5))(student, teacher, truth, step=0)
    assert list(losses.raw) == list(losses.weighted) == ["ce", "kd", "cwd"]
    expected_kd = METHODS["kd"](student.logits, teacher.logits, truth, temperature=1.0)
    torch.testing.assert_close(losses.raw["kd"], expected_kd)
    raw = losses.raw
    torch.testing.assert_close(losses.total, 0.5 * raw["ce"] + 2 * raw["kd"] + 3 * raw["cwd"])
    torch.testing.assert_close(losses.weighted["cwd"], 3 * raw["cwd"])
    assert losses.gradients == {}


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (1, 0.75), (4, 0.0)])
def test_a_schedule_moves_its_own_term_alone(step: int, factor: float) -> None:
    schedule = Schedule(kind="linear", start=1.0, end=0.0)
    losses = make(terms(schedule=schedule))(outputs(0), outputs(1, TEACHER), labels(), step=step)
    torch.testing.assert_close(losses.weighted["kd"], 2 * factor * losses.raw["kd"])
    torch.testing.assert_close(losses.weighted["cwd"], 3 * losses.raw["cwd"])
    torch.testing.assert_close(losses.weighted["ce"], losses.raw["ce"])


def test_adaptive_loss_weighting_is_a_recipe() -> None:
    """AICSD, METHODS section 2: L = a (CE + w_ics L_ICS) + (1 - a) w_kl L_KL, a = step / total steps."""
    rising, falling = Schedule(kind="linear", start=0.0), Schedule(kind="linear", end=0.0)
    aicsd = [term("icsd", weight=75.0, schedule=rising), term("kd", weight=0.7, schedule=falling)]
    objective = make(aicsd, Supervised(schedule=rising), iterations=10)
    for step in range(10):
        losses = objective(outputs(0), outputs(1, TEACHER), labels(), step=step)
        a, raw = step / 10, losses.raw
        expected = a * (raw["ce"] + 75 * raw["icsd"]) + (1 - a) * 0.7 * raw["kd"]
        torch.testing.assert_close(losses.total, expected)


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    student, teacher = outputs(0), outputs(1, TEACHER)
    make(terms())(student, teacher, labels(), step=0).total.backward()
    assert student.logits.grad is not None
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_padding_of_a_crop_reaches_no_term() -> None:
    """Whatever the networks say on ignored pixels, a margin of the upsampling apart, changes nothing."""
    truth = labels(16)
    objective = make([term("kd")])
    plain, changed = outputs(0), outputs(0)
    with torch.no_grad():
        changed.logits[:, :, :3] += 100 * torch.randn(2, 4, 3, 12)
    a = objective(plain, outputs(1, TEACHER), truth, step=0)
    b = objective(changed, outputs(1, TEACHER), truth, step=0)
    assert a.raw.keys() == b.raw.keys() == {"ce", "kd"}
    for name in a.raw:
        torch.testing.assert_close(a.raw[name], b.raw[name])


def test_terms_need_a_teacher() -> None:
    with pytest.raises(ValueError, match="kd: needs a teacher"):
        make(terms())(outputs(0), None, labels(), step=0)
    losses = make()(outputs(0), None, labels(), step=0)
    assert list(losses.raw) == ["ce"]
    assert torch.equal(losses.total, losses.raw["ce"])


def test_every_method_runs_in_one_objective() -> None:
    methods = [*METHODS, *LEARNED]
    taps = {"brd.boundary": ["stage1", "stage2"], "cirkd": ["decoder"], "ifvd": ["decoder"]}
    fixed = {"kd", "cwd", "bpkd.body", "bpkd.edge", "icsd", "dist"}
    mixed = [term(m) if m in fixed else term(m, taps=taps.get(m, ["stage2"])) for m in methods]
    objective = make(mixed)
    assert set(objective.taps) == set(STUDENT)
    student, teacher = outputs(0), outputs(1, TEACHER)
    losses = objective(student, teacher, labels(), step=0, measure=True)
    names = {m if m in fixed | taps.keys() else f"{m}@stage2" for m in methods}
    names = {"brd.boundary@stage1+stage2" if n == "brd.boundary" else n for n in names}
    assert losses.raw.keys() == losses.gradients.keys() == {"ce"} | names
    assert all(torch.isfinite(x) and x > 0 for x in [*losses.raw.values(), *losses.gradients.values()])
    losses.total.backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in student.taps.values())
    assert all(x.grad is None for x in teacher.taps.values())


def test_a_gradient_norm_is_the_terms_own_at_what_it_reads() -> None:
    objective = make([term("kd", weight=2.0), term("at", weight=10.0, taps=["stage2"])])
    student, teacher = outputs(0), outputs(1, TEACHER)
    losses = objective(student, teacher, labels(), step=0, measure=True)
    for name, tap in (("ce", "logits"), ("kd", "logits"), ("at@stage2", "stage2")):
        alone = objective(student, teacher, labels(), step=0).weighted[name]
        (gradient,) = torch.autograd.grad(alone, student.taps[tap])
        torch.testing.assert_close(losses.gradients[name], gradient.norm())
        assert gradient.norm() > 0


def test_measuring_changes_no_gradient() -> None:
    found = []
    for measure in (False, True):
        student = outputs(0)
        make(terms())(student, outputs(1, TEACHER), labels(), step=0, measure=measure).total.backward()
        found.append(student.logits.grad)
    torch.testing.assert_close(found[0], found[1])


def test_adapters_belong_to_the_objective() -> None:
    objective = make([term("cwd", taps=["decoder"]), term("cwd"), term("mgd", taps=["stage2"])])
    assert list(objective.adapters) == ["cwd@decoder", "mgd@stage2"]
    assert {key.rpartition(".")[0] for key in objective.state_dict()} == {
        "adapters.cwd@decoder.projection",
        "adapters.mgd@stage2.align",
        "adapters.mgd@stage2.generate.0",
        "adapters.mgd@stage2.generate.2",
    }
    student, teacher = outputs(0), outputs(1, TEACHER)
    losses = objective(student, teacher, labels(), step=0)
    projected = objective.adapters["cwd@decoder"].projection(student.taps["decoder"])
    torch.testing.assert_close(
        losses.raw["cwd@decoder"], METHODS["cwd"](projected, teacher.taps["decoder"], labels())
    )
    losses.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.parameters())


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_tap_that_is_not_there(role: str) -> None:
    taps = {"student": STUDENT, "teacher": TEACHER}
    taps[role] = {name: tap for name, tap in taps[role].items() if name != "stage2"}
    with pytest.raises(UserError) as caught:
        Objective(Supervised(), [term("kd"), term("at", taps=["stage2"])], iterations=4, **taps)
    there = f"stage1 (stride 4, {6 if role == 'student' else 9} channels), decoder (stride 4, "
    expected = f"distill[1].taps: at reads the tap 'stage2', which the {role} lacks; it has {there}"
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
