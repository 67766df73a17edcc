from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest

from kd_deploy.runtime import segment
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.parity import compare, compare_golden

CLASSES = ["road", "sky", "car", "pole"]
PALETTE = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [200, 210, 220]], np.uint8)
KEYS = {
    "verdict",
    "reference",
    "candidate",
    "miou_drop",
    "boundary_drop",
    "pixel_agreement",
    "mask_iou",
    "worst_class",
    "worst_class_drop",
    "frames",
    "golden",
    "data",
    "split",
    "reasons",
    "thresholds",
    "date",
    "kd_deploy",
}


def frames(count=3, *, labelled=True, size=(24, 32), seed=0):
    """Frames whose blue channel is the label map (few pixels of it `pole`) and red another one."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = np.zeros(size, np.uint8)
        label[: size[0] // 3] = 1
        label[size[0] // 2 :, rng.integers(4, 12) :] = 2
        label[2:8, 3] = 3
        image = np.stack([label, np.zeros_like(label), label[::-1]], axis=-1)
        made.append(Frame(f"frame{i}", image, label if labelled else None))
    return made


def shifted(batch):
    return np.roll(batch[..., 0], 3, axis=2)


def exchanged(batch):
    return np.array([0, 2, 1, 3], np.uint8)[batch[..., 0]]


def swapped_channels(batch):
    return batch[..., 2]


def golden(count=3):
    return [(frame.name, frame.image, frame.label) for frame in frames(count)]


def test_equal_masks_pass(fake_model):
    report = compare(fake_model(), fake_model(precision="fp16"), frames(), CLASSES, max_miou_drop=0.0)
    value = json.loads(json.dumps(report.to_json()))
    assert set(value) == KEYS
    scores = {"miou": 100.0, "pixel_accuracy": 100.0, "boundary_iou": 100.0, "backend": "fake"}
    scores |= {"device": "nothing", "versions": {}}
    assert value["reference"] == {**scores, "precision": "fp32"}
    assert value["candidate"] == {**scores, "precision": "fp16"}
    assert (value["verdict"], value["reasons"]) == ("pass", [])
    assert (value["miou_drop"], value["pixel_agreement"], value["frames"]) == (0.0, 100.0, 3)
    assert (value["boundary_drop"], value["mask_iou"], value["worst_class_drop"]) == (0.0, 100.0, 0.0)
    assert datetime.fromisoformat(value["date"]).tzinfo is not None
    assert value["worst_class"] in CLASSES
    assert value["golden"] is False
    assert value["thresholds"] == {"max_miou_drop": 0.0, "min_pixel_agreement": 99.9}


@pytest.mark.parametrize("wrong", [shifted, exchanged, swapped_channels])
@pytest.mark.parametrize("labelled", [True, False])
def test_wrong_masks_fail(fake_model, wrong, labelled):
    report = compare(
        fake_model(), fake_model(function=wrong), frames(labelled=labelled), CLASSES, max_miou_drop=0.5
    )
    assert report.verdict == "fail"
    assert report.pixel_agreement < 99.9
    assert len(report.reasons) >= (2 if labelled else 1)


@pytest.mark.parametrize("wrong", [shifted, exchanged, swapped_channels])
def test_wrong_masks_fail_on_golden_frames(fake_model, wrong):
    assert compare_golden(fake_model(), golden(), CLASSES).verdict == "pass"
    report = compare_golden(fake_model(function=wrong), golden(), CLASSES)
    value = report.to_json()
    assert set(value) == KEYS
    assert (value["verdict"], value["golden"], value["frames"]) == ("fail", True, 3)
    assert value["reference"]["backend"] == "torch"
    assert value["candidate"]["backend"] == "fake"


def test_without_labels_there_is_no_miou(fake_model):
    value = compare(fake_model(), fake_model(), frames(labelled=False), CLASSES, max_miou_drop=0.5).to_json()
    for side in ("reference", "candidate"):
        assert [value[side][key] for key in ("miou", "pixel_accuracy", "boundary_iou")] == [None] * 3
    assert value["miou_drop"] is None
    assert value["verdict"] == "pass"


@pytest.mark.parametrize("labelled", [True, False])
def test_the_worst_class_is_named(fake_model, labelled):
    def no_poles(batch):
        return np.where(batch[..., 0] == 3, 1, batch[..., 0]).astype(np.uint8)

    report = compare(
        fake_model(),
        fake_model(function=no_poles),
        frames(labelled=labelled),
        CLASSES,
        max_miou_drop=100.0,
        min_pixel_agreement=99.0,
    )
    assert report.worst_class == "pole"
    assert report.worst_class_drop == 100.0
    assert report.miou_drop == (pytest.approx(25.0, abs=1.0) if labelled else None)
    # 6 of 768 pixels: within the agreement, but without labels nothing else shows that the class is lost.
    assert 99.0 < report.pixel_agreement < 99.9
    assert report.verdict == ("pass" if labelled else "fail")
    if not labelled:
        assert report.reasons == ["class pole is lost: 0 of the reference's 18 pixels are found"]


def test_a_class_found_where_there_is_none_is_the_worst(fake_model):
    def invented(batch):
        mask = batch[..., 0].copy()
        mask[:, -1, -1] = 4
        return mask

    report = compare(
        fake_model(), fake_model(function=invented), frames(), [*CLASSES, "dog"], max_miou_drop=0.5
    )
    assert report.worst_class == "dog"
    assert report.miou_drop == pytest.approx(20.0, abs=0.5)


def test_the_drop_may_reach_its_limit_but_not_pass_it(fake_model):
    def one_wrong(batch):
        mask = batch[..., 0].copy()
        mask[:, 0, 0] = 0
        return mask

    def verdict(**limits):
        return compare(fake_model(), fake_model(function=one_wrong), frames(), CLASSES, **limits)

    drop = verdict(max_miou_drop=100.0).miou_drop
    assert 0 < drop < 1
    assert verdict(max_miou_drop=drop, min_pixel_agreement=99.0).verdict == "pass"
    assert verdict(max_miou_drop=drop * 0.99, min_pixel_agreement=99.0).reasons[0].startswith("mIoU falls by")


def test_a_better_candidate_has_a_negative_drop(fake_model):
    report = compare(
        fake_model(function=shifted),
        fake_model(),
        frames(),
        CLASSES,
        max_miou_drop=0.0,
        min_pixel_agreement=0.0,
    )
    assert report.miou_drop < 0
    assert report.verdict == "pass"


def test_ignored_pixels_count_in_the_agreement_only(fake_model):
    (frame,) = frames(1)
    label = frame.label.copy()
    label[:, 0] = 255

    def wrong_where_ignored(batch):
        mask = batch[..., 0].copy()
        mask[:, :, 0] = 3
        return mask

    report = compare(
        fake_model(),
        fake_model(function=wrong_where_ignored),
        [Frame("f", frame.image, label)],
        CLASSES,
        max_miou_drop=0.0,
    )
    assert report.miou_drop == 0
    assert report.pixel_agreement == pytest.approx(100 * 31 / 32)


def test_frames_of_another_size_are_compared_at_theirs(fake_model):
    mixed = [*frames(1), *frames(1, size=(48, 64))]
    report = compare(fake_model(), fake_model(function=shifted), mixed, CLASSES, max_miou_drop=0.5)
    assert {pair.reference.shape for pair in report.worst} == {(24, 32), (48, 64)}


def test_no_frames_are_an_error(fake_model):
    with pytest.raises(UserError, match="none to compare"):
        compare(fake_model(), fake_model(), [], CLASSES, max_miou_drop=0.5)
    with pytest.raises(UserError, match="none to compare"):
        compare_golden(fake_model(), [], CLASSES)


def test_reference_masks_that_do_not_fit_are_named(fake_model):
    def beyond(batch):
        return np.full(batch.shape[:3], 9, np.uint8)

    with pytest.raises(UserError, match="frame0: the reference's mask: has class id 9"):
        compare(fake_model(function=beyond), fake_model(), frames(), CLASSES, max_miou_drop=0.5)
    name, image, mask = golden(1)[0]
    with pytest.raises(UserError, match="frame0: the frame is 24x32, its reference mask 23x32"):
        compare_golden(fake_model(), [(name, image, mask[1:])], CLASSES)


def test_the_boundary_drop_is_judged_where_a_limit_is_given(fake_model):
    def verdict(**limits):
        judged = compare(
            fake_model(),
            fake_model(function=shifted),
            frames(),
            CLASSES,
            max_miou_drop=100.0,
            min_pixel_agreement=0.0,
            **limits,
        )
        return judged.boundary_drop, judged.reasons

    drop, reasons = verdict()
    assert drop > 10
    assert reasons == []
    assert verdict(max_boundary_drop=drop)[1] == []
    (reason,) = verdict(max_boundary_drop=drop - 0.01)[1]
    assert reason.startswith(f"boundary IoU falls by {drop:.2f} points")


def first_for_all(batch):
    return batch[[0] * len(batch), ..., 0]


def last_for_all(batch):
    return batch[[-1] * len(batch), ..., 0]


@pytest.mark.parametrize("wrong", [first_for_all, last_for_all])
@pytest.mark.parametrize("batch", [None, 3])
def test_one_frame_taken_for_another(fake_model, wrong, batch):
    candidate = fake_model(function=wrong)
    candidate.batch = batch
    assert compare(fake_model(), candidate, frames(), CLASSES, max_miou_drop=0.5).verdict == "fail"
    report = compare_golden(candidate, golden(), CLASSES)
    assert report.verdict == "fail"
    assert report.reasons[-1].endswith("100.000 % one by one, each frame twice as wide")


def test_labelled_frames_come_alone_and_two_at_once(fake_model):
    candidate = fake_model()
    compare(fake_model(), candidate, frames(8), CLASSES, max_miou_drop=0.5)
    assert [len(call) for call in candidate.calls] == [2, 1, 2, 1, 2]


def test_golden_frames_come_from_another_size_too(fake_model, monkeypatch):
    candidate = fake_model()
    assert compare_golden(candidate, golden(), CLASSES).pixel_agreement == 100.0
    assert [len(call) for call in candidate.calls] == [2, 1, 1, 1, 1]
    for once, (_, image, _) in zip(candidate.calls[2:], golden(), strict=True):
        assert (once[0] == image).all()  # from twice the width to the bit

    def lost(mask, size):
        return mask if mask.shape == size else np.zeros(size, np.uint8)

    monkeypatch.setattr(segment, "labels_to_size", lost)
    report = compare_golden(candidate, golden(), CLASSES)
    assert report.verdict == "fail"
    assert report.worst[0].candidate.shape == (24, 64)


def test_the_masks_overlap_is_judged(fake_model):
    def fewer_poles(batch):
        mask = batch[..., 0].copy()
        mask[:, 2:5][mask[:, 2:5] == 3] = 1
        return mask

    def judged(least):
        return compare_golden(
            fake_model(function=fewer_poles), golden(), CLASSES, min_pixel_agreement=99.0, min_mask_iou=least
        )

    overlap = judged(0.0).mask_iou
    assert 85 < overlap < 90  # half of one of four classes
    assert judged(overlap).verdict == "pass"
    (reason,) = judged(overlap + 0.1).reasons
    assert reason.startswith(f"the masks' IoU is {overlap:.2f}")
