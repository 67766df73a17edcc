from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.runtime.contours import Contours, class_codes


@pytest.mark.parametrize(
    ("classes", "dtype"), [(1, np.uint8), (70, np.uint8), (71, np.uint16), (255, np.uint16)]
)
def test_no_code_is_a_part_of_another(classes, dtype):
    table = class_codes(classes)
    assert (table.shape, table.dtype) == ((256,), dtype)
    assert not table[classes:].any()
    codes = table[:classes]
    part = (codes[:, None] & ~codes[None]) == 0
    np.testing.assert_array_equal(part, np.eye(classes, dtype=bool))


@pytest.mark.parametrize("classes", [3, 100])
def test_near_is_within_the_width_in_chessboard_distance(classes):
    labels = np.zeros((31, 43), np.uint8)
    labels[11, 25] = classes - 1
    rows, columns = np.indices(labels.shape)
    distance = np.maximum(abs(rows - 11), abs(columns - 25))
    widths = [1, 3, 7, 8, 20]
    found = {
        width: near[:, :43].copy() for width, near in Contours((31, 43), classes, 20).near(labels, widths)
    }
    assert list(found) == widths
    for width, near in found.items():
        # The lone pixel itself has another class beside it.
        np.testing.assert_array_equal(near, distance <= width)


def test_an_ignored_pixel_hides_nothing_and_is_nothing():
    labels = np.array([[0, 0, 255, 255, 1, 1]], np.uint8)
    contours = Contours((1, 6), 2, 3)
    near = {width: plane[0, [0, 1, 4, 5]].tolist() for width, plane in contours.near(labels, [2, 3])}
    assert near == {2: [False] * 4, 3: [False, True, True, False]}


def test_a_frame_leaves_nothing_to_the_next():
    contours = Contours((5, 5), 2, 2)
    halves = np.repeat(np.array([[0, 0, 1, 1, 1]], np.uint8), 5, axis=0)
    assert [near[:, :5].any() for _, near in contours.near(halves, [1, 2])] == [True, True]
    assert [near[:, :5].any() for _, near in contours.near(np.zeros((5, 5), np.uint8), [1, 2])] == [
        False,
        False,
    ]
