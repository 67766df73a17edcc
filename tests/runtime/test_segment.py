from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.segment import (
    BARS,
    labels_from_letterbox,
    labels_to_size,
    letterbox,
    segment,
    segment_batch,
    to_size,
)


def quarters(height, width):
    """An image whose blue channel is 0 on the left and 2 on the right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :, 0] = 2
    return image


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (12, 16), (33, 70)])
def test_the_mask_has_the_images_size(fake_model, size):
    image = quarters(*size)
    mask = segment(fake_model(function=lambda frames: (frames[..., 0] > 0) * np.uint8(2)), image)
    assert (mask.shape, mask.dtype) == (size, np.uint8)
    assert set(np.unique(mask)) == {0, 2}  # no id between two classes
    wrong = mask != image[..., 0]
    assert not wrong[:, : size[1] // 2 - 3].any()
    assert not wrong[:, size[1] // 2 + 3 :].any()


def test_a_picture_that_shrinks_is_averaged_and_one_that_grows_is_interpolated():
    stripes = np.zeros((4, 6, 3), np.uint8)
    stripes[:, ::3] = 90
    assert (to_size(stripes, (4, 2)) == 30).all()  # bilinear would see the middle column alone
    assert len(np.unique(to_size(quarters(4, 4), (4, 16)))) == 3


def test_labels_take_the_id_at_their_pixels_centre():
    labels = np.arange(6, dtype=np.uint8).reshape(1, 6)
    assert labels_to_size(labels, (1, 2)).tolist() == [[1, 4]]
    assert labels_to_size(labels, (1, 6)) is labels


def test_nothing_is_resized_where_the_sizes_agree(fake_model):
    image = np.random.default_rng(0).integers(0, 9, (24, 32, 3), dtype=np.uint8)
    assert to_size(image, (24, 32)) is image
    np.testing.assert_array_equal(segment(fake_model(), image), image[..., 0])


def test_a_batch_may_mix_sizes(fake_model):
    model = fake_model()
    images = [quarters(24, 32), quarters(48, 64), quarters(10, 90)]
    masks = segment_batch(model, images)
    assert len(model.calls) == 1
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask, segment(model, image))


def test_what_is_no_picture_is_refused(fake_model):
    with pytest.raises(UserError, match="uint8"):
        segment(fake_model(), np.zeros((24, 32, 3), np.float32))


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (12, 64), (60, 20), (1, 200), (33, 70), (7, 5)])
def test_a_letterbox_is_undone_exactly(size):
    """Each pixel of a label map that went in comes back where it was, within what shrinking loses."""
    box = (24, 32)
    scale = min(box[0] / size[0], box[1] / size[1])
    cells = np.arange(2, dtype=np.uint8)[:, None] * 2 + np.arange(2, dtype=np.uint8)
    labels = labels_to_size(cells, size)
    boxed = letterbox(np.repeat(labels[..., None], 3, axis=2), box)
    assert boxed.shape == (*box, 3)
    bars = (boxed == BARS).all(axis=2)
    inside = np.argwhere(~bars)
    height, width = np.ptp(inside, axis=0) + 1
    assert (height, width) == (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    top, left = inside[0]
    assert abs(2 * top + height - box[0]) <= 1
    assert abs(2 * left + width - box[1]) <= 1
    content = labels_to_size(labels, (height, width))
    mask = np.full(box, 9, np.uint8)
    mask[top : top + height, left : left + width] = content
    back = labels_from_letterbox(mask, size)
    assert 9 not in back
    np.testing.assert_array_equal(back, labels_to_size(content, size))
    if height >= size[0]:  # what is not shrunk loses nothing
        np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize("size", [(24, 32), (12, 64), (60, 20)])
def test_a_letterboxed_image_gives_the_mask_of_its_size(fake_model, size):
    image = quarters(*size)
    model = fake_model(function=lambda frames: (frames[..., 0] == 2) * np.uint8(2))
    mask = segment(model, image, "letterbox")
    assert mask.shape == size
    middle = size[1] // 2
    assert not mask[:, : middle - 3].any()
    assert (mask[:, middle + 3 :] == 2).all()


def test_a_letterbox_of_the_same_shape_has_no_bars():
    image = quarters(48, 64)
    np.testing.assert_array_equal(letterbox(image, (24, 32)), to_size(image, (24, 32)))
    assert letterbox(image, (48, 64)) is image
