"""Plots as inline SVG, from what runs and benchmarks wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from kd_deploy.report.drawing import COLORS, colored, panel, style, svg
from kd_deploy.report.latency import latencies as latencies

Records = Sequence[Mapping[str, Any]]
"""metrics.jsonl's lines."""

_DECADES = 30.0
"""A plot whose largest value is this many times its smallest is drawn on a logarithmic axis."""


def curves(runs: Mapping[str, Records]) -> Markup:
    """The supervised loss and the validation mIoU of each run, by iteration."""
    with style():
        figure, loss = panel("iteration", "cross-entropy (training)")
        scores, miou = panel("iteration", "mIoU (validation, points)")
        for name, color in colored(list(runs), first=0):
            _plot(loss, runs[name], "train", "ce", label=name, color=color)
            _plot(miou, runs[name], "evaluate", "miou", "o-", label=name, color=color, ms=3)
        miou.legend(loc="lower right")
        return svg(figure) + svg(scores)


def terms(runs: Mapping[str, Records]) -> Markup:
    """Every term of each distilled run's objective after its weight, by iteration."""
    weighted = {name: _keys(records, ".weighted") for name, records in runs.items()}
    plots = [
        _lines(runs[name], keys, "weighted loss", name) for name, keys in weighted.items() if len(keys) > 1
    ]
    return Markup("").join(plots)


def training(records: Records) -> Markup:
    """One run's scores on val, its terms before and after their weights, their gradients, and its learning rate."""
    weighted, gradients = _keys(records, ".weighted"), _keys(records, ".gradient")
    raw = {name: key.removesuffix(".weighted") for name, key in weighted.items()}
    rates = {key: key for key in _logged(records) if key.partition(".")[0] == "lr"}
    return Markup("").join(
        [
            _scores(records),
            _lines(records, raw, "loss", "terms before their weights"),
            _lines(records, weighted, "loss", "terms after their weights"),
            _lines(records, gradients, "L2 norm", "gradients of the weighted terms at the student"),
            _lines(records, rates, "learning rate", "learning rate", linear=True),
        ]
    )


def _scores(records: Records) -> Markup:
    """mIoU and boundary IoU over the run, where it was evaluated more than once."""
    if sum(record["kind"] == "evaluate" for record in records) < 2:
        return Markup("")
    with style():
        figure, axis = panel("iteration", "points", "scores on val")
        for label, key, color in (("mIoU", "miou", COLORS[2]), ("boundary IoU", "boundary_iou", COLORS[1])):
            _plot(axis, records, "evaluate", key, "o-", label=label, color=color, ms=3)
        axis.legend()
        return svg(figure)


def trimaps(results: Mapping[str, Mapping[int, float | None]], colors: Mapping[str, str]) -> Markup:
    """The trimap IoU of each network over the width of the band around the labels' boundaries."""
    with style():
        figure, axis = panel("pixels from a boundary, at most", "IoU, points")
        for name, scores in results.items():
            known = {width: score for width, score in scores.items() if score is not None}
            axis.plot(list(known), list(known.values()), "o-", label=name, color=colors[name], ms=3)
        widths = list(next(iter(results.values())))
        axis.set_xscale("log", base=2)
        axis.set_xticks(widths, [str(width) for width in widths])
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure)


def _logged(records: Records) -> Mapping[str, Any]:
    """The first interval: it names everything that a run logs."""
    return next((record for record in records if record["kind"] == "train"), {})


def _keys(records: Records, suffix: str) -> dict[str, str]:
    """The logged key with this suffix of each term, by the term's name."""
    return {key.removesuffix(suffix): key for key in _logged(records) if key.endswith(suffix)}


def _lines(records: Records, keys: Mapping[str, str], y: str, title: str, *, linear: bool = False) -> Markup:
    """Values of the training intervals, one line a key; nothing where there is no key."""
    if not keys:
        return Markup("")
    with style():
        figure, axis = panel("iteration", y, title)
        for name, color in colored(list(keys), first=2 if len(keys) == 1 else 1):
            _plot(axis, records, "train", keys[name], label=name, color=color)
        drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()])
        positive = drawn[drawn > 0]
        if not linear and positive.size and positive.max() > _DECADES * positive.min():
            axis.set_yscale("log", nonpositive="mask")
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if len(keys) > 1:
            figure.legend(loc="outside lower center", ncols=3)
        return svg(figure)


def _plot(axis: Axes, records: Records, kind: str, key: str, line: str = "-", **options: Any) -> None:
    """One logged value by step; a value that an interval lacks is left out."""
    points = [(r["step"], r[key]) for r in records if r["kind"] == kind and r.get(key) is not None]
    axis.plot([step for step, _ in points], [value for _, value in points], line, **options)
