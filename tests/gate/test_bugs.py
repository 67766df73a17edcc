"""The gate stops every bug that costs more mIoU than the bundle allows, with labelled frames and with golden ones
alone, and stops nothing that is sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate import PRECISIONS, Student, judge, table
from gate_bugs import BUGS, FUSED, Bug, scale

from kd_deploy.run import Run

BY_NAME = {bug.name: bug for bug in BUGS}

SMALL = {
    "person and cyclist exchanged",  # which this student hardly ever finds
    "batch-norm epsilon 0.0001",
    "batch-norm epsilon 0.001",
    "float16 near its end in layer1.0",
    "int8: the head's input scale by 0.5",
    "int8: the head's input scale by 4",
    "int8: the first pool's scale by 0.5",
    "int8: an encoder layer's input scale by 0.25",
    "int8: the head's weight scales by 0.5",
    "int8: the head's weight scale of sidewalk by 1.3",
}
"""They cost this student about what a bundle allows or nothing; the gate may let them pass where they do."""

HIDDEN = {
    "letterbox undone without its offset",
}
"""PyTorch's masks of labelled frames go the same wrong way; the golden frames, which are asked too, show it."""


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(BUGS)
    assert set(BY_NAME) >= SMALL | HIDDEN


def test_the_student_was_trained(student: Student) -> None:
    summary = Run.open(student.run).summary()
    assert summary["miou"] > 35  # one class everywhere: under 4
    assert sum(iou > 25 for iou in summary["classes"].values()) >= 7


@pytest.mark.parametrize("precision", ["fp32", "fp32-cpu", *PRECISIONS])
def test_what_is_sound_passes(student: Student, tmp_path: Path, precision: str) -> None:
    outcome = judge(student, Bug("none", precision), tmp_path / "bundle")
    assert (outcome.labelled, outcome.golden, outcome.verdict) == ([], [], "pass")
    assert abs(outcome.miou_drop) < 0.5


@pytest.mark.parametrize("name", BY_NAME)
def test_a_bug_is_stopped(student: Student, tmp_path: Path, name: str) -> None:
    outcome = judge(student, BY_NAME[name], tmp_path / "bundle")
    said = table([outcome])
    assert 0 <= outcome.golden_agreement <= 100
    assert 0 <= outcome.agreement <= 100  # of those that may pass, it is reported
    if outcome.miou_drop > student.bundle.manifest["thresholds"]["max_miou_drop"]:
        assert outcome.verdict == "fail", said
        assert outcome.golden, said
        assert bool(outcome.labelled) == (name not in HIDDEN), said
    if name not in SMALL:
        assert outcome.labelled or outcome.golden, said


def test_the_limits_of_int8_are_those_that_it_was_exported_with(student: Student, tmp_path: Path) -> None:
    """A scale that costs more than the bundle allows, and leaves more equal pixels than int8 must have in general."""
    bundle = student.bundle
    bugs = [Bug(f"scale by {factor}", "int8", edit=scale(FUSED, factor)) for factor in (0.25, 0.27, 0.3)]
    outcomes = [judge(student, bug, tmp_path / bug.name) for bug in bugs]
    general = [
        outcome
        for outcome in outcomes
        if outcome.miou_drop > bundle.manifest["thresholds"]["max_miou_drop"]
        and outcome.golden_agreement > bundle.min_agreement("int8")
    ]
    assert general, table(outcomes)
    for outcome in general:
        limits = bundle.golden_limits("int8")
        assert outcome.golden_agreement < limits["min_pixel_agreement"]
        assert outcome.golden_mask_iou < limits["min_mask_iou"]
