"""A candidate's masks with ids of no class, or of another shape: a verdict, not an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.parity import compare, compare_golden, draw_worst

CLASSES = ["road", "sky", "car", "pole"]
PALETTE = np.full((4, 3), 90, np.uint8)

Array = NDArray[np.uint8]


def frames() -> list[Frame]:
    """The blue channel is the label map."""
    images = np.random.default_rng(0).integers(0, 4, (3, 24, 32, 3), dtype=np.uint8)
    return [Frame(f"frame{number}", image, image[..., 0]) for number, image in enumerate(images)]


def golden() -> list[tuple[str, Array, Array]]:
    return [(frame.name, frame.image, frame.image[..., 0]) for frame in frames()]


def beyond(batch: Array) -> Array:
    """The first of 24 rows is of class 200."""
    masks = batch[..., 0].copy()
    masks[:, 0] = 200
    return masks


def cut(batch: Array) -> Array:
    return batch[:, 1:, :, 0]


def test_an_id_of_no_class_is_a_wrong_pixel_and_a_reason(fake_model: Any) -> None:
    candidate = fake_model(function=beyond)
    labelled = compare(fake_model(), candidate, frames(), CLASSES, max_miou_drop=0.0)
    stored = compare_golden(candidate, golden(), CLASSES, min_pixel_agreement=0.0)
    for report in (labelled, stored):
        assert report.verdict == "fail"
        line = "frame0: class id 200, the classes end at 3 (and 2 frames more do not fit)"
        assert report.reasons[0] == line
        assert report.pixel_agreement == pytest.approx(100 * 23 / 24)
        assert report.worst[0].agreement == pytest.approx(100 * 23 / 24)
    assert stored.reasons == [line]
    assert labelled.candidate.pixel_accuracy == pytest.approx(100 * 23 / 24)
    assert labelled.miou_drop is not None
    assert labelled.miou_drop > 1


def test_it_is_wrong_where_the_reference_is_too(fake_model: Any) -> None:
    reference = fake_model(function=lambda batch: (batch[..., 0] - 1) % 4)  # one less than the truth
    report = compare(reference, fake_model(function=beyond), frames(), CLASSES, max_miou_drop=100.0)
    assert report.candidate.pixel_accuracy == pytest.approx(100 * 23 / 24)


def test_a_mask_of_another_shape_is_wrong_all_over(fake_model: Any) -> None:
    reference, candidate = fake_model(size=None), fake_model(size=None, function=cut)
    limits = {"max_miou_drop": 100.0, "min_pixel_agreement": 0.0}
    labelled = compare(reference, candidate, frames()[:1], CLASSES, **limits)
    stored = compare_golden(candidate, golden()[:1], CLASSES, min_pixel_agreement=0.0)
    for report in (labelled, stored):
        assert (report.verdict, report.pixel_agreement) == ("fail", 0.0)
        assert report.reasons[0] == "frame0: the mask is 23x32, the frame 24x32"
        assert (draw_worst(report, PALETTE)["frame0"] == (48, 48, 255)).all(axis=-1).sum() == 24 * 32
    assert labelled.candidate.pixel_accuracy == 0.0


def test_of_a_single_class_the_reason_alone_fails_it(fake_model: Any) -> None:
    def always(batch: Array) -> Array:
        return np.zeros(batch.shape[:3], np.uint8)

    alike = [(name, image, 0 * mask) for name, image, mask in golden()]
    assert compare_golden(fake_model(function=always), alike, ["road"]).verdict == "pass"
    assert compare_golden(fake_model(function=beyond), alike, ["road"]).verdict == "fail"
