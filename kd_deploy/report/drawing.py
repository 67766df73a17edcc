"""The style of all plots, and plots as inline SVG whose colours are the page's, light or dark."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, LINE = "#1c2128", "#e1e4e8"
COLORS = ("#8a8f98", "#d9822b", "#2166ac", "#4d9221", "#762a83", "#c2410c", "#0e7490")
"""Teacher first, in grey: it is the measure of the others; then the student alone, then the method."""

_VARIABLES = {INK: "--ink", LINE: "--line", **{color: f"--c{n}" for n, color in enumerate(COLORS)}}
"""base.html.j2 defines each of them twice, for light and for dark pages."""

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and copied
    "svg.hashsalt": "kd-deploy",  # fixed ids: the same numbers give the same page
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save inside it."""
    with rc_context(_STYLE):
        yield


def panel(x: str, y: str, title: str = "") -> tuple[Figure, Axes]:
    """An empty plot of the size that stays readable on a telephone; a page sets several side by side."""
    figure = Figure(figsize=(4.4, 2.8), layout="constrained")
    axis = figure.subplots()
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_title(title, fontsize=9)
    return figure, axis


def colored(names: Sequence[str], first: int = 1) -> Iterator[tuple[str, str]]:
    """Each name with its colour; there are more names than colours only in odd recipes."""
    return zip(names, cycle(COLORS[first:]), strict=False)


def svg(figure: Figure) -> Markup:
    """The drawing for a page: its colours become the page's."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return Markup(text)  # our own drawing
