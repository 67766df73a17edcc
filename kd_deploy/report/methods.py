"""The plot of `compare`: every seed a dot, the mean a bar, teacher and student alone as lines to measure by."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kd_deploy.compare import Comparison
from kd_deploy.finished import TEACHER, Finished
from kd_deploy.groups import TRIMAP, Group, Spread
from kd_deploy.report.drawing import COLORS, INK, style
from kd_deploy.runtime.files import atomic_file

Score = Callable[[Finished], float | None]
"""What a run scored, or None where its summary does not say."""

_SCORES: dict[str, Score] = {
    "mIoU (points)": lambda run: run.miou,
    "boundary IoU (points)": lambda run: float(run.summary["boundary_iou"]),
    f"trimap IoU, {TRIMAP} px (points)": lambda run: run.trimap_iou.get(TRIMAP),
}


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
    runs = [run for group in rows for run in group.runs]
    scores = {label: score for label, score in _SCORES.items() if any(score(run) is not None for run in runs)}
    figure = Figure(figsize=(1.8 + 3.3 * len(scores), 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axis, (label, score) in zip(axes, scores.items(), strict=True):
        _references(axis, comparison, score)
        for place, group in enumerate(rows):
            _row(axis, place, _known(group, score))
        axis.set_xlabel(label)
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.12)
        axis.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    axes[0].set_yticks(range(len(rows)), [textwrap.fill(group.name, 26) for group in rows])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _known(group: Group, score: Score) -> list[float]:
    """What the seeds scored; nothing where one of them does not know it."""
    scores = [score(run) for run in group.runs]
    return [value for value in scores if value is not None] if None not in scores else []


def _references(axis: Axes, comparison: Comparison, score: Score) -> None:
    if teachers := [mean(known) for group in comparison.of(TEACHER) if (known := _known(group, score))]:
        axis.axvline(mean(teachers), color=COLORS[0], linestyle="--", label="teacher")
    if comparison.baseline and (known := _known(comparison.baseline, score)):
        axis.axvline(mean(known), color=COLORS[1], linestyle=":", label="student alone")


def _row(axis: Axes, place: int, seeds: list[float]) -> None:
    """Dots and a bar, and the mean in figures above them; only the first row is named in the legend."""
    if not seeds:
        return
    spread = Spread.of(seeds)
    names = ("a seed", "mean") if place == 0 else ("_", "_")
    axis.plot(seeds, [place] * len(seeds), "o", color=COLORS[2], alpha=0.6, ms=5, label=names[0])
    axis.plot([spread.mean] * 2, [place - 0.22, place + 0.22], color=INK, lw=2, label=names[1])
    text = f"{spread.mean:.1f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.1f}")
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # over the lines
    axis.annotate(text, (spread.mean, place - 0.25), ha="center", va="bottom", fontsize=8, bbox=ground)
