"""What one key says of another is checked too, and names the line."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("edits", "problem"),
    [
        (
            [("crop: [64, 64]", "crop: [64, 40]")],
            "15: train.crop: must be multiples of 16 for deeplabv3plus, not [64, 40]",
        ),
        (
            [
                ("crop: [64, 64]", "crop: [48, 64]"),
                ("deeplabv3plus\n  encoder: resnet34", "segformer\n  encoder: mit_b4"),
            ],
            "15: train.crop: must be multiples of 32 for segformer, not [48, 64]",
        ),
        (
            [("resnet34", "resnet34\n  train: {iterations: 9, batch_size: 2, crop: [8, 16]}")],
            "9: teacher.train.crop: must be multiples of 16 for deeplabv3plus, not [8, 16]",
        ),
        (
            [
                (
                    "    weight: 1",
                    "    weight: 1\n  - method: cwd\n    weight: 1\n  - method: kd\n    weight: 2",
                )
            ],
            "14: distill[2].method: 'kd' stands twice; logs name a term by its method and taps",
        ),
        (
            [
                (
                    "    weight: 1",
                    "    weight: 1\n    schedule:\n      kind: linear\n      start: 0\n      end: 0",
                )
            ],
            "14: distill[0].schedule.start: the schedule is zero throughout; leave the term out instead",
        ),
        (
            [("    weight: 1", "    weight: 1\n    schedule:\n      kind: warmup\n      over: [0, 101]")],
            "14: distill[0].schedule.over: ends at step 101, outside the run: train.iterations is 100",
        ),
        (
            [("    weight: 1", "    weight: 1\n    schedule:\n      kind: linear\n      over: [9, 3]")],
            "14: distill[0].schedule.over: must be a first and a later step, not [9, 3]",
        ),
        (
            [("    weight: 1", "    weight: 1\n    schedule:\n      kind: cosine")],
            "13: distill[0].schedule.kind: the schedule goes from 1 to 1: give start or end",
        ),
        (
            [("    weight: 1", "    weight: 1\n    schedule:\n      kind: constant\n      over: [0, 9]")],
            "13: distill[0].schedule.kind: a constant schedule has neither end nor over; give another kind",
        ),
        (
            [("    weight: 1", "    weight: 0"), ("train:\n", "supervised: {weight: 0}\ntrain:\n")],
            "12: supervised.weight: every weight is zero, so that nothing teaches the student",
        ),
        (
            [("train:\n", "supervised: {class_weights: [0, 0]}\ntrain:\n")],
            "12: supervised.class_weights: must have a weight above zero",
        ),
        (
            [
                (
                    "    weight: 1",
                    "    weight: 1\n  - {method: dist, weight: 1, options: {inter: 0, intra: 0}}",
                )
            ],
            "12: distill[1].options.inter: inter and intra are both zero; leave the term out instead",
        ),
        (
            [
                (
                    "    weight: 1",
                    "    weight: 1\n  - {method: brd.boundary, weight: 1, taps: [stage1, stage1]}",
                )
            ],
            "12: distill[1].taps: must name each tap once, not ['stage1', 'stage1']",
        ),
        (
            [("    weight: 1", "    weight: 1\n  - {method: brd.boundary, weight: 1, taps: []}")],
            "12: distill[1].taps: has too few values: []",
        ),
        (
            [("    weight: 1", "    weight: 1\n    schedule:\n      kind: warmup")],
            "12: distill[0].schedule.over: a warm-up needs its steps: over: [0, 1500]",
        ),
        (
            [("train:\n", "supervised: {schedule: {kind: poly, end: 0, over: [0, 200]}}\ntrain:\n")],
            "12: supervised.schedule.over: ends at step 200, outside the run: train.iterations is 100",
        ),
        (
            [("crop: [64, 64]", "crop: [64, 64]\n  lr_schedule:\n    warmup: 100")],
            "17: train.lr_schedule.warmup: must be less than train's iterations (100), not 100",
        ),
        (
            [("crop: [64, 64]", "crop: [64, 64]\n  augment:\n    scale: [2, 0.5]")],
            "17: train.augment.scale: must be low then high, not [2, 0.5]",
        ),
    ],
)
def test_checks_across_keys_name_the_line_too(
    recipe: Any, edits: list[tuple[str, str]], problem: str
) -> None:
    assert recipe(*edits) == [f"r.yaml:{problem}"]
