"""The picture of the class frequencies: as tall as the classes need, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kd_deploy.data.check import Report, SplitCounts
from kd_deploy.data.labels import pascal_palette
from kd_deploy.data.plot import plot_frequencies
from kd_deploy.runtime.images import read_image


def draw(tmp_path: Path, counts: SplitCounts, classes: int) -> np.ndarray:  # type: ignore[type-arg]
    names = [rf"$\bad{number}$" for number in range(classes)]  # no formula
    report = Report(tmp_path, "folder", names, pascal_palette(classes + 1)[1:], {"train": counts}, [])
    plot_frequencies(report, tmp_path / "plot.png")
    assert [file.name for file in tmp_path.iterdir()] == ["plot.png"]
    return read_image(tmp_path / "plot.png")


def counted(*pixels: int) -> SplitCounts:
    counts = SplitCounts(frames=4, labels=4)
    counts.pixels[: len(pixels)] = pixels
    counts.containing = np.minimum(counts.pixels, 4)
    return counts


def bar(image: np.ndarray, color: np.ndarray) -> int:  # type: ignore[type-arg]
    """Pixels in a class's colour (RGB)."""
    return int((image == color[::-1]).all(axis=2).sum())


def test_bars_have_the_palettes_colours_and_lengths_of_the_shares(tmp_path: Path) -> None:
    image = draw(tmp_path, counted(2, 1000, 0), 3)
    rare, frequent, absent = (bar(image, color) for color in pascal_palette(4)[1:])
    assert frequent > rare > 0
    assert absent == 0


def test_the_picture_grows_with_the_classes(tmp_path: Path) -> None:
    few, many = draw(tmp_path, counted(5, 6), 2), draw(tmp_path, counted(*range(1, 61)), 60)
    assert few.shape[1] == many.shape[1]
    assert many.shape[0] > 4 * few.shape[0]


@pytest.mark.parametrize("classes", [0, 2])
def test_nothing_counted_is_drawn_too(tmp_path: Path, classes: int) -> None:
    assert draw(tmp_path, SplitCounts(), classes).size > 0
