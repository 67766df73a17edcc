"""Plots as inline SVG, from what runs and benchmarks wrote down."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

COLORS = ("#8a8f98", "#d9822b", "#2166ac", "#4d9221", "#762a83")
"""Teacher first, in grey: it is the measure of the others."""

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and copied
    "font.family": "sans-serif",
}

Records = Sequence[Mapping[str, Any]]
"""metrics.jsonl's lines."""


def curves(runs: Mapping[str, Records]) -> Markup:
    """The supervised loss and the validation mIoU of each run, by iteration."""
    with rc_context(_STYLE):
        figure, (loss, miou) = _figure(2)
        for color, (name, records) in zip(COLORS, runs.items(), strict=False):
            steps = [r for r in records if r["kind"] == "train"]
            scores = [r for r in records if r["kind"] == "evaluate"]
            loss.plot([r["step"] for r in steps], [r["ce"] for r in steps], color=color, label=name)
            miou.plot(
                [r["step"] for r in scores], [r["miou"] for r in scores], "o-", color=color, label=name, ms=3
            )
        _label(loss, "iteration", "cross-entropy (training)")
        _label(miou, "iteration", "mIoU (validation, points)")
        miou.legend(frameon=False, loc="lower right")
        return _svg(figure)


def terms(runs: Mapping[str, Records]) -> Markup:
    """Every term of each distilled run's objective after its weight, by iteration."""
    shown = {name: r for name, r in runs.items() if any(len(_weighted(line)) > 1 for line in r)}
    with rc_context(_STYLE):
        figure, axes = _figure(len(shown))
        for axis, (name, records) in zip(axes, shown.items(), strict=True):
            lines = [r for r in records if r["kind"] == "train"]
            for color, term in zip(COLORS[1:], _weighted(lines[0]), strict=False):
                values = [r[f"{term}.weighted"] for r in lines]
                axis.plot([r["step"] for r in lines], values, color=color, label=term)
            axis.set_title(name, fontsize=9)
            _label(axis, "iteration", "weighted loss")
            axis.legend(frameon=False)
        return _svg(figure)


def latencies(results: Sequence[Mapping[str, Any]]) -> Markup:
    """A histogram of each backend's samples, one plot a boundary; nothing is clipped."""
    boundaries = list(dict.fromkeys(r["boundary"] for r in results))
    with rc_context(_STYLE):
        figure, axes = _figure(len(boundaries))
        for axis, boundary in zip(axes, boundaries, strict=True):
            entries = [r for r in results if r["boundary"] == boundary]
            longest = max(max(r["samples_ms"]) for r in entries)
            bins = np.geomspace(min(min(r["samples_ms"]) for r in entries), longest * 1.001, 40)
            for color, entry in zip(COLORS[1:], entries, strict=False):
                label = f"{entry['backend']}, median {entry['p50_ms']:.1f} ms"
                axis.hist(entry["samples_ms"], bins=list(bins), color=color, alpha=0.8, label=label)
            axis.set_xscale("log")
            for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
                ticks(StrMethodFormatter("{x:g}"))
            axis.tick_params(axis="x", which="both", labelsize=7)
            axis.set_title(f"boundary: {boundary}", fontsize=9)
            _label(axis, "milliseconds a call (log)", "calls")
            axis.legend(frameon=False)
        return _svg(figure)


def _weighted(record: Mapping[str, Any]) -> list[str]:
    return [key.removesuffix(".weighted") for key in record if key.endswith(".weighted")]


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6 * columns, 2.9), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def _svg(figure: Figure) -> Markup:
    buffer = io.StringIO()
    # No date and fixed ids: the same numbers give the same page.
    with rc_context({"svg.hashsalt": "kd-deploy"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # our own drawing
