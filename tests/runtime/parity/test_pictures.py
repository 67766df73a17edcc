"""Pictures of the frames that agree least."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.parity import compare, draw_worst, write_worst

CLASSES = ["road", "sky", "car", "pole"]
PALETTE = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [200, 210, 220]], np.uint8)


def frame(name, *, width=32, green=()):
    image = np.zeros((24, width, 3), np.uint8)
    image[12:, :, 0] = 2
    for row, column in green:
        image[row, column, 1] = 1
    return Frame(name, image, image[..., 0].copy())


def wrong_where_green(batch):
    return np.where(batch[..., 1] > 0, 0, batch[..., 0]).astype(np.uint8)


@pytest.fixture
def report(fake_model):
    many = [frame(f"frame{number}") for number in range(6)]
    many[4] = frame("bad.jpg", green=[(20, 30)])
    return compare(fake_model(), fake_model(function=wrong_where_green), many, CLASSES, max_miou_drop=0.5)


def test_the_worst_frames_are_drawn(report):
    assert report.worst[0].frame.name == "bad.jpg"
    assert report.worst[0].agreement == pytest.approx(100 * (1 - 1 / 768))
    pictures = draw_worst(report, PALETTE)
    assert len(pictures) == 4
    assert next(iter(pictures)) == "bad.jpg"
    red = [(picture == (48, 48, 255)).all(axis=-1).sum() for picture in pictures.values()]
    assert red == [9, 0, 0, 0]


def test_they_are_written_under_their_ranks_and_names(report, tmp_path):
    write_worst(report, PALETTE, tmp_path / "worst")
    rest = [f"{rank}-{pair.frame.name}.png" for rank, pair in enumerate(report.worst[1:], start=2)]
    assert sorted(p.name for p in (tmp_path / "worst").iterdir()) == ["1-bad.png", *rest]
    assert cv2.imread(str(tmp_path / "worst" / "1-bad.png")).shape[1] > 3 * 32


def test_names_that_differ_after_a_dot_alone_or_in_their_folder_stay_apart(fake_model, tmp_path):
    names = ["a.b.1", "a.b.2", "there/a.PNG", "a.jpg"]
    many = [frame(name) for name in names]
    write_worst(compare(fake_model(), fake_model(), many, CLASSES, max_miou_drop=0.5), PALETTE, tmp_path)
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == ["1-a.b.1.png", "2-a.b.2.png", "3-a.png", "4-a.png"]
