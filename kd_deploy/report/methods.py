"""The plot of `compare`: every seed a dot, the mean a bar, teacher and student alone as lines to measure by."""

from __future__ import annotations

import textwrap
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kd_deploy.compare import Comparison, Group
from kd_deploy.finished import TEACHER
from kd_deploy.report.drawing import COLORS, INK, style
from kd_deploy.runtime.files import atomic_file

_SCORES = {"miou": "mIoU (points)", "boundary_iou": "boundary IoU (points)"}


def write_methods(path: Path, comparison: Comparison) -> None:
    """Draw the methods, best first, as .png or .svg by the suffix of `path`.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    with style(), atomic_file(path) as temporary:
        draw_methods(comparison).savefig(temporary, dpi=160, facecolor="white")


def draw_methods(comparison: Comparison) -> Figure:
    """A row for each group of students, a column for each score; teachers are lines alone."""
    rows = [group for group in comparison.groups if group.method != TEACHER] or comparison.groups
    figure = Figure(figsize=(8.4, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(_SCORES), sharey=True, squeeze=False)[0]
    for axis, (key, label) in zip(axes, _SCORES.items(), strict=True):
        _references(axis, comparison, key)
        for place, group in enumerate(rows):
            _row(axis, place, group, key)
        axis.set_xlabel(label)
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.12)
        axis.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    axes[0].set_yticks(range(len(rows)), [textwrap.fill(group.name, 26) for group in rows])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _references(axis: Axes, comparison: Comparison, key: str) -> None:
    if teachers := comparison.of(TEACHER):
        value = mean(group.mean(key) for group in teachers)
        axis.axvline(value, color=COLORS[0], linestyle="--", label="teacher")
    if comparison.baseline:
        axis.axvline(comparison.baseline.mean(key), color=COLORS[1], linestyle=":", label="student alone")


def _row(axis: Axes, place: int, group: Group, key: str) -> None:
    """Dots and a bar, and the mean in figures above them; only the first row is named in the legend."""
    spread = group.spread(key)
    names = ("a seed", "mean") if place == 0 else ("_", "_")
    seeds = [run.summary[key] for run in group.runs]
    axis.plot(seeds, [place] * len(seeds), "o", color=COLORS[2], alpha=0.6, ms=5, label=names[0])
    axis.plot([spread.mean] * 2, [place - 0.22, place + 0.22], color=INK, lw=2, label=names[1])
    text = f"{spread.mean:.1f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.1f}")
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # over the lines
    axis.annotate(text, (spread.mean, place - 0.25), ha="center", va="bottom", fontsize=8, bbox=ground)
