"""Histograms of a benchmark's samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from kd_deploy.report.drawing import COLORS, panel, style, svg

Results = Sequence[Mapping[str, Any]]
"""benchmark.json's entries; of older files too, which lack what is not drawn here."""

_BINS = 40
_WIDE = 4.0  # times the smallest sample; from there on 1, 2 and 5 of each decade are ticks enough
_UNITS = {"video": "milliseconds from frame to frame (log)"}


def latencies(results: Results) -> Markup:
    """One plot a boundary: every sample of each backend and precision, its median and its 99th percentile.

    Frames of several sizes have a plot each. A configuration has the same colour in every plot. Nothing is clipped.
    """
    names = list(dict.fromkeys(_name(result) for result in results))
    colors = {name: COLORS[1:][number % (len(COLORS) - 1)] for number, name in enumerate(names)}
    boundaries = dict.fromkeys(map(_boundary, results))
    with style():
        return Markup("").join(
            _plot(boundary, [result for result in results if _boundary(result) == boundary], colors)
            for boundary in boundaries
        )


def _plot(boundary: str, results: Results, colors: Mapping[str, str]) -> Markup:
    unit = _UNITS.get(boundary, "milliseconds a call (log)")
    figure, axis = panel(unit, "share of its calls, %", f"boundary: {boundary} (line: median, dashed: p99)")
    figure.set_figheight(figure.get_figheight() + 0.17 * len(results))  # of the legend below
    samples = [sample for result in results for sample in result["samples_ms"]]
    bins = list(np.geomspace(min(samples), max(samples) * 1.001, _BINS))
    for result in results:
        values, color = result["samples_ms"], colors[_name(result)]
        median, slow = (float(np.percentile(values, percent)) for percent in (50, 99))
        label = f"{_name(result)}, median {median:.1f} ms, p99 {slow:.1f} ms"
        weights = [100 / len(values)] * len(values)
        axis.hist(values, bins=bins, weights=weights, color=color, alpha=0.6, label=label)
        axis.axvline(median, color=color)
        axis.axvline(slow, color=color, linestyle="--")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    wide = max(samples) > _WIDE * min(samples)
    axis.xaxis.set_minor_formatter(NullFormatter() if wide else StrMethodFormatter("{x:g}"))
    if wide:
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.tick_params(axis="x", which="both", labelsize=7)
    figure.legend(loc="outside lower center", fontsize=8)
    return svg(figure)


def _boundary(result: Mapping[str, Any]) -> str:
    """The boundary, with the frames' size where it is not the model's; older files do not know it."""
    boundary, frames = str(result["boundary"]), result.get("frame_size")
    return boundary if frames in (None, result["size"]) else f"{boundary}, frames of {frames}"


def _name(result: Mapping[str, Any]) -> str:
    return f"{result['backend']} {result['precision']}"
