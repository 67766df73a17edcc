"""Class frequencies as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from kd_deploy.data.check import Report
from kd_deploy.runtime.files import atomic_file

_ROW = 0.17
"""Inches of a class."""
_TALL = 40
"""Classes from which on the top has a scale too."""


def plot_frequencies(report: Report, file: Path) -> None:
    """Write the share of the pixels (log) and of the frames of each class, all splits together, as a PNG.

    Raises:
        UserError: the file cannot be written.
    """
    total = report.total()
    numbers = range(len(report.classes))
    pixels = np.array([total.pixel_percent(number) or 0.0 for number in numbers])
    frames = np.array([total.frame_percent(number) or 0.0 for number in numbers])
    order = np.argsort(-pixels, kind="stable")
    figure = Figure(figsize=(9, 1.1 + _ROW * len(order)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(order))
    colors = report.palette[order] / 255
    left.set_yticks(rows, [report.classes[number] for number in order], parse_math=False)
    left.set_ylim(len(order) - 0.4, -0.6)  # the most frequent on top
    _bars(left, pixels[order], colors, "% of the labelled pixels (log)")
    _bars(right, frames[order], colors, "% of the frames in which it occurs")
    right.set_xlim(0, 115)
    if pixels.any():
        left.set_xscale("log")
        left.set_xlim(pixels[pixels > 0].min() / 3, 300)
        left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    splits = ", ".join(f"{counts.labels} {name}" for name, counts in report.splits.items())
    figure.suptitle(f"{report.root.resolve().name} ({report.format}): {splits}", fontsize=9, parse_math=False)
    with atomic_file(file) as temporary:
        figure.savefig(temporary)


def _bars(axes: Axes, shares: NDArray[np.float64], colors: NDArray[np.float64], title: str) -> None:
    axes.barh(range(len(shares)), shares, color=colors, edgecolor="#555555", linewidth=0.4, height=0.72)
    for row, share in enumerate(shares):
        if share:
            axes.annotate(f" {share:.3g}", (share, row), va="center", fontsize=6, color="#333333")
        else:  # a logarithm has no place for 0: at the left edge
            edge = axes.get_yaxis_transform()
            axes.text(0, row, " never", va="center", fontsize=6, color="#b2182b", transform=edge)
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labeltop=len(shares) > _TALL)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e6e8eb")
    axes.spines[["top", "right"]].set_visible(False)
