from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.overlay import Overlay, blend, caption, colorize, side_by_side

NAMES = ["road", "sky", "pedestrian"]
PALETTE = np.array([[128, 64, 128], [70, 130, 180], [220, 20, 60]], np.uint8)


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return frame, rng.integers(0, 3, (height, width), dtype=np.uint8)


def draw_legend(frame, names, palette):
    """The legend on a frame whose every pixel is ignored, so that it shows as it is."""
    size = frame.shape[:2]
    return Overlay(names, palette, size).draw(frame, np.full(size, 255, np.uint8))


def shows(image, color):
    """Pixels of exactly an RGB colour."""
    return int((image == color[::-1]).all(axis=-1).sum())


def test_colorize_looks_the_palette_up_in_bgr():
    mask = np.array([[0, 1, 2], [255, 3, 0]], np.uint8)
    expected = np.array(
        [[[128, 64, 128], [180, 130, 70], [60, 20, 220]], [[0, 0, 0], [0, 0, 0], [128, 64, 128]]]
    )
    np.testing.assert_array_equal(colorize(mask, PALETTE), expected)


def test_255_is_black_even_where_the_palette_goes_so_far():
    assert not colorize(np.full((1, 1), 255, np.uint8), np.full((256, 3), 9, np.uint8)).any()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_blend_is_the_weighted_mean_and_leaves_ignored_pixels(alpha):
    frame, mask = picture(20, 30)
    mask[5:9, 5:9] = 255
    before = frame.copy()
    expected = alpha * PALETTE[:, ::-1][np.minimum(mask, 2)] + (1 - alpha) * frame
    expected[mask == 255] = frame[mask == 255]
    blended = blend(frame, mask, PALETTE, alpha)
    assert np.abs(blended - expected).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(frame, before)

    np.testing.assert_array_equal(blend(frame, mask, PALETTE, alpha, out=frame), blended)
    np.testing.assert_array_equal(frame, blended)


def test_a_large_frame_keeps_its_size_and_most_of_its_pixels():
    frame, _ = picture(720, 1280)
    drawn = draw_legend(frame, NAMES, PALETTE)
    assert drawn.shape == frame.shape
    changed = (drawn != frame).any(axis=-1)
    assert 0.002 < changed.mean() < 0.12
    assert not changed[:, 640:].any()
    for color in PALETTE:
        assert shows(drawn, color) > 100


@pytest.mark.parametrize(("height", "width"), [(48, 64), (24, 8), (96, 300)])
def test_a_small_frame_stays_whole_above_the_legend(height, width):
    frame, _ = picture(height, width)
    drawn = draw_legend(frame, NAMES, PALETTE)
    np.testing.assert_array_equal(drawn[:height], frame)
    assert drawn.shape[0] > height
    assert drawn.shape[0] % 2 == 0
    assert drawn.shape[1] == width
    for color in PALETTE:
        assert shows(drawn[height:], color) > 10


def test_many_classes_go_below_in_columns():
    names, palette = [f"class{i}" for i in range(150)], np.arange(450, dtype=np.uint8).reshape(150, 3)
    frame, _ = picture(256, 512)
    drawn = draw_legend(frame, names, palette)
    np.testing.assert_array_equal(drawn[:256], frame)
    assert all(shows(drawn[256:], color) for color in palette)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_even_frame_stays_even_for_video_encoders(count):
    drawn = draw_legend(np.zeros((48, 64, 3), np.uint8), NAMES[:count], PALETTE[:count])
    assert drawn.shape[0] % 2 == 0
    assert drawn.shape[0] > 48


@pytest.mark.parametrize("size", [(48, 64), (360, 480)])
def test_overlay_is_blend_and_legend_for_every_frame(size):
    overlay = Overlay(NAMES, PALETTE, size)
    for seed in (0, 1):
        frame, mask = picture(*size, seed)
        before = frame.copy()
        drawn = overlay.draw(frame, mask)
        assert drawn.shape == (*overlay.output_size, 3)
        np.testing.assert_array_equal(drawn, draw_legend(blend(frame, mask, PALETTE), NAMES, PALETTE))
        np.testing.assert_array_equal(frame, before)


def test_side_by_side_keeps_the_pictures_and_adds_titles():
    first, second = picture(40, 60)[0], picture(40, 50, 1)[0]
    row = side_by_side([first, second])
    assert row.shape == (40, 60 + 2 + 50, 3)
    np.testing.assert_array_equal(row[:, :60], first)
    np.testing.assert_array_equal(row[:, -50:], second)
    titled = side_by_side([first, second], ["a", "b"])
    np.testing.assert_array_equal(titled[-40:], row)
    bar = titled[:-40]
    assert bar[:, :60].max() > 200
    assert bar[:, -50:].max() > 200


@pytest.mark.parametrize("size", [(720, 1280), (64, 96), (240, 320)])
def test_a_caption_stands_in_the_top_right_corner(size):
    picture = np.full((*size, 3), 100, np.uint8)
    caption(picture, "24.8 fps  p50 31 ms  dropped 4")
    changed = np.argwhere((picture != 100).any(axis=2))
    assert changed[:, 0].max() < size[0] // 2
    assert changed[:, 1].max() == size[1] - 1
    assert picture.max() > 150
    assert (picture[size[0] // 2 :] == 100).all()
