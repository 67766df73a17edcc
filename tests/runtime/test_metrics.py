from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metric_passes import counts_in_passes
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.metrics import Score, _joint_histograms, boundary_width


def names(count):
    return [f"class{i}" for i in range(count)]


def blobs(rng, shape, classes, *, ignored):
    """A label map of a few regions with, if asked, an ignored region and an ignored edge."""
    coarse = rng.integers(0, classes, (max(2, shape[0] // 9), max(2, shape[1] // 9)), dtype=np.uint8)
    label = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_NEAREST)
    if ignored:
        label[: shape[0] // 5, shape[1] // 3 :] = 255
        label[shape[0] // 2, : shape[1] // 2] = 255
    return label


def plain_band(mask, valid, d):
    """Cheng et al. 2021: the mask's pixels within d of a pixel that is not the mask's, for one class."""
    outside = np.pad(~mask & valid, d, constant_values=True)
    near = np.zeros_like(mask)
    height, width = mask.shape
    for y in range(2 * d + 1):
        for x in range(2 * d + 1):
            near |= outside[y : y + height, x : x + width]
    return mask & near & valid


def plain_boundary_iou(frames, classes):
    both, either = np.zeros(classes), np.zeros(classes)
    for truth, prediction in frames:
        d = max(1, round(0.02 * float(np.hypot(*truth.shape))))
        valid = truth != 255
        for c in range(classes):
            bands = [plain_band((mask == c) & valid, valid, d) for mask in (truth, prediction)]
            both[c] += (bands[0] & bands[1]).sum()
            either[c] += (bands[0] | bands[1]).sum()
    return [100 * b / e if e else None for b, e in zip(both, either, strict=True)]


def plain_trimap(truth, width):
    """Pixels of the truth that have another label in the square of `width` around them, shift by shift."""
    padded = np.pad(truth, width, constant_values=255)
    near = np.zeros(truth.shape, bool)
    height, columns = truth.shape
    for y in range(2 * width + 1):
        for x in range(2 * width + 1):
            other = padded[y : y + height, x : x + columns]
            near |= (other != truth) & (other != 255)
    return near & (truth != 255)


def plain_trimap_iou(frames, classes, width):
    inside = [(np.where(plain_trimap(t, width), t, 255), p) for t, p in frames]
    confusion = plain_confusion(inside, classes).astype(float)
    hits = np.diagonal(confusion)
    either = confusion.sum(0) + confusion.sum(1) - hits
    present = [100 * h / e for h, e in zip(hits, either, strict=True) if e]
    return np.mean(present) if present else None


def plain_confusion(frames, classes):
    confusion = np.zeros((classes, classes), np.int64)
    for truth, prediction in frames:
        for t, p in zip(truth.ravel(), prediction.ravel(), strict=True):
            if t != 255:
                confusion[t, p] += 1
    return confusion


@pytest.mark.parametrize("classes", [2, 19, 255])
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("shape", [(41, 67), (120, 90), (5, 3), (1, 1)])
def test_matches_the_plain_definition(classes, ignored, shape):
    rng = np.random.default_rng(classes)
    frames = [
        (blobs(rng, shape, classes, ignored=ignored), blobs(rng, shape, classes, ignored=False))
        for _ in range(2)
    ]
    # Half right, so that the bands overlap.
    frames = [(t, np.where((np.arange(shape[1]) < shape[1] // 2) & (t != 255), t, p)) for t, p in frames]
    score = Score(names(classes))
    for truth, prediction in frames:
        score.update(truth, prediction)
    result = score.result()

    np.testing.assert_array_equal(result.confusion, plain_confusion(frames, classes))
    expected = plain_boundary_iou(frames, classes)
    assert list(result.boundary_classes.values()) == pytest.approx(expected)
    present = [value for value in expected if value is not None]
    assert result.boundary_iou == (pytest.approx(np.mean(present)) if present else None)
    assert result.images == 2
    assert list(result.trimap_iou) == [1, 2, 4, 8, 16]
    for width in (1, 4):
        assert result.trimap_iou[width] == pytest.approx(plain_trimap_iou(frames, classes, width))


def test_a_trimap_is_as_wide_as_it_says():
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    prediction = truth.copy()
    prediction[:, 33:36] = 0  # wrong at 4 to 6 pixels from the contour
    score = Score(names(2))
    score.update(truth, prediction)
    trimap = score.result().trimap_iou
    assert (trimap[1], trimap[2]) == (100.0, 100.0)
    assert trimap[4] == pytest.approx((100 * 4 / 5 + 100 * 3 / 4) / 2)  # 4 columns on either side, one wrong
    assert trimap[16] > trimap[8]


def test_scores_by_hand():
    truth = np.array([[0, 0, 0, 1], [0, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 0, 1, 1], [0, 1, 2, 2]], np.uint8)
    score = Score(names(4))
    score.update(truth, prediction)
    result = score.result()
    # class 0: 3 of 4; class 1: 2 of 3 + 1 wrongly found; class 2: predicted only; class 3: nowhere.
    assert result.classes == {
        "class0": pytest.approx(75.0),
        "class1": pytest.approx(50.0),
        "class2": 0.0,
        "class3": None,
    }
    assert result.miou == pytest.approx(125 / 3)
    assert result.pixel_accuracy == pytest.approx(500 / 7)
    assert result.mean_accuracy == pytest.approx((75 + 200 / 3) / 2)


def test_the_image_border_is_contour_and_an_ignored_neighbour_is_none():
    truth = np.zeros((60, 80), np.uint8)
    score = Score(names(1))
    score.update(truth, truth)
    d = boundary_width(truth.shape)
    assert d == 2
    assert score.counts()[1] == 60 * 80 - (60 - 2 * d) * (80 - 2 * d)
    truth[20:40, 30:50] = 255
    holed = Score(names(1))
    holed.update(truth, np.zeros_like(truth))
    assert holed.counts()[1] == score.counts()[1]


def test_nothing_labelled_scores_none():
    score = Score(names(2))
    score.update(np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8))
    result = score.result()
    assert (result.miou, result.pixel_accuracy, result.mean_accuracy, result.boundary_iou) == (None,) * 4
    assert set(result.trimap_iou.values()) == {None}
    assert result.images == 1


def test_counts_of_parts_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    frames = [
        (blobs(rng, (40, 50), 3, ignored=True), blobs(rng, (40, 50), 3, ignored=False)) for _ in range(3)
    ]
    whole, first, second = Score(names(3)), Score(names(3)), Score(names(3))
    for i, frame in enumerate(frames):
        whole.update(*frame)
        (first if i == 0 else second).update(*frame)
    assert (first + second).result() == whole.result()
    summed = first.counts() + second.counts()
    assert summed.dtype == np.int64
    assert Score.from_counts(names(3), summed).result() == whole.result()
    assert first.result().images == 1
    with pytest.raises(ValueError, match="different classes"):
        whole + Score(["x", "y", "z"])
    with pytest.raises(ValueError, match="counts"):
        Score.from_counts(names(4), summed)


def test_inputs_stay_and_may_be_views():
    truth = np.array([[0, 255], [1, 1]], np.uint8)
    prediction = np.array([[0, 1], [0, 1]], np.uint8)
    straight, flipped = Score(names(2)), Score(names(2))
    straight.update(truth, prediction)
    flipped.update(truth[::-1, ::-1], prediction[::-1, ::-1])
    assert straight.result() == flipped.result()
    assert truth.tolist() == [[0, 255], [1, 1]]
    assert prediction.tolist() == [[0, 1], [0, 1]]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 70), st.integers(1, 90)),
    st.sampled_from([1, 2, 11, 19, 70, 71, 150, 255]),
    st.sampled_from(["noise", "regions"]),
    st.floats(0, 1),
)
def test_counts_are_those_of_the_plain_passes(seed, shape, classes, kind, ignored):
    rng = np.random.default_rng(seed)
    truth, prediction = (
        rng.integers(0, classes, shape, dtype=np.uint8)
        if kind == "noise"
        else blobs(rng, shape, classes, ignored=False)
        for _ in range(2)
    )
    prediction = np.where(rng.random(shape) < 0.7, truth, prediction)
    truth[rng.random(shape) < ignored**3] = 255
    truth[: int(ignored * shape[0]) // 2] = 255
    score = Score(names(classes))
    score.update(truth, prediction)
    np.testing.assert_array_equal(score.counts(), counts_in_passes(truth, prediction, classes))


def test_a_band_may_be_wider_than_the_widest_trimap():
    rng = np.random.default_rng(3)
    truth, prediction = (blobs(rng, (300, 900), 19, ignored=ignored) for ignored in (True, False))
    assert boundary_width(truth.shape) == 19
    score = Score(names(19))
    score.update(truth, prediction)
    np.testing.assert_array_equal(score.counts(), counts_in_passes(truth, prediction, 19))


def test_frames_of_several_shapes_in_turn():
    rng = np.random.default_rng(4)
    score, expected = Score(names(5)), 0
    for shape in [(40, 50), (50, 40), (40, 50), (40, 50), (7, 90)]:
        truth, prediction = (blobs(rng, shape, 5, ignored=ignored) for ignored in (True, False))
        score.update(truth, prediction)
        expected = expected + counts_in_passes(truth, prediction, 5)
    np.testing.assert_array_equal(score.counts(), expected)


def test_more_pixels_than_float32_counts():
    mask = np.zeros((4097, 4097), np.uint8)
    parts = list(_joint_histograms(mask, mask, mask, 2))
    assert max(int(part.sum(dtype=np.int64)) for part in parts) < 2**24
    assert sum(int(part[0, 0, 0]) for part in parts) == 4097**2


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[0, 3]], [[0, 1]], "street7: the label map: has class id 3, but the 3 classes end at 2"),
        ([[0, 1]], [[0, 200]], "street7: the mask: has class id 200"),
        ([[0, 255]], [[0, 255]], "street7: the mask: has class id 255"),
        ([[0, 1]], [[0], [1]], "street7: the label map is 1x2 and the mask 2x1"),
    ],
)
def test_what_does_not_fit_is_named(truth, prediction, message):
    score = Score(names(3))
    with pytest.raises(UserError, match=message) as caught:
        score.update(np.array(truth, np.uint8), np.array(prediction, np.uint8), "street7")
    assert "\n" not in str(caught.value)
    assert not score.counts().any()


@pytest.mark.parametrize("count", [0, 256])
def test_class_count_is_checked(count):
    with pytest.raises(UserError, match=f"classes: {count}"):
        Score(names(count))
