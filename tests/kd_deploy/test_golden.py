"""Which frames travel with a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from kd_deploy.golden import CANDIDATES, choose_golden
from kd_deploy.runtime.frames import IGNORE, Frame


class Labels:
    """A data set of label maps alone."""

    classes = ("road", "sky", "car", "pole")

    def __init__(self, labels):
        self._labels = labels

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        image = np.zeros((16, 24, 3), np.uint8)
        return Frame(f"{index}", image, self._labels[index])


def scene(*objects, size=(16, 24)):
    """Sky over road, and squares of other classes."""
    label = np.zeros(size, np.uint8)
    label[: size[0] // 2] = 1
    for number, name in enumerate(objects):
        label[6:10, 3 + 6 * number : 5 + 6 * number] = name
    return label


def names(labels, count):
    return [frame.name for frame in choose_golden(Labels(labels), count)]


def test_together_they_show_every_class():
    labels = [scene() for _ in range(20)]
    labels[7], labels[13] = scene(2), scene(3)
    assert names(labels, 2) == ["7", "13"]


def test_boundaries_count():
    labels = [scene(), scene(2), scene(2, 2, 2), scene(2, 2)]
    assert names(labels, 1) == ["2"]
    assert names(labels, 2) == ["2", "3"]


def test_they_come_in_order_and_once():
    labels = [scene() for _ in range(5)]
    assert names(labels, 3) == sorted(set(names(labels, 3)))
    assert names(labels, 9) == ["0", "1", "2", "3", "4"]


def test_ignored_pixels_are_no_class():
    noisy = np.indices((16, 24)).sum(axis=0) % 2 * np.uint8(IGNORE)
    assert names([noisy.astype(np.uint8), scene(2)], 1) == ["1"]


def test_frames_without_labels_are_taken_as_they_come():
    assert names([None] * 3, 2) == ["0", "1"]


@pytest.mark.parametrize("count", [2, CANDIDATES + 6])
def test_of_a_large_data_set_some_are_looked_at(count, monkeypatch):
    seen = []
    labels = Labels([scene(2)] * 500)
    get = Labels.__getitem__

    def noted(self, index):
        seen.append(index)
        return get(self, index)

    monkeypatch.setattr(Labels, "__getitem__", noted)
    assert len(choose_golden(labels, count)) == count
    assert len(set(seen)) == max(CANDIDATES, count)
    assert {0, 499} <= set(seen)
