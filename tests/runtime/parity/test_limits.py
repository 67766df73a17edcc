"""What golden frames ask of a precision."""

from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.metrics import Score
from kd_deploy.runtime.parity.limits import golden_limits, mask_iou

CLASSES = ["road", "sky", "car"]


def scored(truth, mask):
    score = Score(CLASSES)
    score.update(truth, mask)
    return score.result()


def halves():
    mask = np.zeros((40, 50), np.uint8)
    mask[20:] = 1
    return mask


def test_equal_masks_leave_what_the_bundle_allows():
    limits = golden_limits(scored(halves(), halves()), 0.5)
    assert limits == {"min_pixel_agreement": pytest.approx(99.9), "min_mask_iou": pytest.approx(99.5)}


def test_a_precision_may_differ_half_as_much_again():
    mask = halves()
    mask[20:30, 0] = 0  # 10 of 2000 pixels
    found = scored(halves(), mask)
    overlap = 100 * (1000 / 1010 + 990 / 1000) / 2
    limits = golden_limits(found, 1.0)
    assert limits["min_pixel_agreement"] == pytest.approx(99.9 - 1.5 * 0.5)
    assert limits["min_mask_iou"] == pytest.approx(99.0 - 1.5 * (100 - overlap))


def test_a_limit_is_never_negative():
    assert golden_limits(scored(halves(), 1 - halves()), 0.5) == {"min_pixel_agreement": 0, "min_mask_iou": 0}


def test_a_class_of_a_few_pixels_does_not_move_the_overlap():
    truth = halves()
    truth[0, 0] = 2
    assert mask_iou(scored(truth, halves())) > 99.9
    truth[0, :2] = 2  # a thousandth of the pixels
    assert mask_iou(scored(truth, halves())) == pytest.approx(100 * 2 / 3, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_overlap_bounds_how_far_the_miou_can_fall(seed):
    """Jaccard's distance is a metric: what the gate's reasoning rests on."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, (40, 50)).astype(np.uint8)
    reference = np.where(rng.random(truth.shape) < 0.3, 0, truth).astype(np.uint8)
    candidate = np.where(rng.random(truth.shape) < 0.1 * seed, 2, reference).astype(np.uint8)
    drop = scored(truth, reference).miou - scored(truth, candidate).miou
    assert drop <= 100 - mask_iou(scored(reference, candidate)) + 1e-9
