"""The synthetic street scenes: the same bytes every time, labels that fit the image, smooth drives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kd_deploy.data.scenes import CLASSES, IGNORE, PALETTE, draw_drive, draw_scene

SMALL = (96, 192)


def test_a_scene_is_the_same_bytes_every_time() -> None:
    first, again = draw_scene(3, 7, SMALL), draw_scene(3, 7, SMALL)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()


@pytest.mark.parametrize(("seed", "index"), [(3, 8), (4, 7), (7, 3)])
def test_another_seed_or_index_is_another_scene(seed: int, index: int) -> None:
    _, label = draw_scene(3, 7, SMALL)
    _, other = draw_scene(seed, index, SMALL)
    assert np.mean(label != other) > 0.1


@pytest.mark.parametrize("size", [SMALL, (128, 256), (360, 480), (97, 131)])
def test_shapes_types_and_ids(size: tuple[int, int]) -> None:
    for index in range(3):
        image, label = draw_scene(1, index, size)
        assert image.shape == (*size, 3)
        assert label.shape == size
        assert image.dtype == label.dtype == np.uint8
        assert image.flags.c_contiguous
        assert label.flags.c_contiguous
        assert set(np.unique(label)) <= {*range(len(CLASSES)), IGNORE}
        assert np.mean(label == IGNORE) < 0.12
        assert image.std() > 20


def test_the_palette_tells_the_classes_apart() -> None:
    assert PALETTE.shape == (len(CLASSES), 3)
    assert PALETTE.dtype == np.uint8
    distance = np.abs(PALETTE[:, None].astype(int) - PALETTE[None]).sum(axis=2)
    assert distance[~np.eye(len(CLASSES), dtype=bool)].min() > 40


def test_every_class_is_in_two_scenes_of_five() -> None:
    present = np.zeros((40, len(CLASSES)), dtype=bool)
    for index in range(40):
        _, label = draw_scene(11, index, SMALL)
        present[index] = np.bincount(label.ravel(), minlength=256)[: len(CLASSES)] >= 8
    assert present.mean(axis=0).min() >= 0.4
    assert present[:, [CLASSES.index(name) for name in ("sky", "building", "road")]].mean() > 0.95


def test_the_edges_of_image_and_label_agree() -> None:
    """The image changes most where the label does, more than two pixels beside it."""
    steps = np.zeros(5)
    for index in range(8):
        image, label = draw_scene(5, index, (128, 256))
        step = np.abs(np.diff(image.astype(np.float64), axis=1)).sum(axis=2)
        edge = label[:, 1:] != label[:, :-1]
        edge[:, :2] = edge[:, -2:] = False
        steps += [np.roll(step, shift, axis=1)[edge].mean() for shift in (-2, -1, 0, 1, 2)]
    assert steps.argmax() == 2
    assert steps[2] > 1.5 * max(steps[0], steps[4])


def test_a_drive_moves_without_jumps() -> None:
    frames = list(draw_drive(2, 12, SMALL))
    assert len(frames) == 12
    changes = [np.mean(before[1] != after[1]) for before, after in pairwise(frames)]
    assert max(changes) < 0.12
    assert min(changes) > 0.002
    assert np.mean(frames[0][1] != frames[-1][1]) > 2 * np.mean(changes)
    colours = [image.reshape(-1, 3).mean(axis=0) for image, _ in frames]
    assert max(np.abs(after - before).max() for before, after in pairwise(colours)) < 6


def test_a_drive_is_the_same_every_time() -> None:
    first, again = list(draw_drive(2, 3, SMALL)), list(draw_drive(2, 3, SMALL))
    assert all(
        np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True)
    )
