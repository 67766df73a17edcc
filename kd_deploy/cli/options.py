"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Item = TypeVar("Item")

bundle = click.argument("bundle", type=click.Path(path_type=Path))
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
)
device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
data = click.option("--data", type=click.Path(path_type=Path), help="Where the data set lies, if moved.")
split = click.option("--split", default="val", show_default=True)
backend = click.option(
    "--backend", default="onnxruntime-cpu", show_default=True, help="What runs the bundle."
)
precision = click.option("--precision", default="fp32", show_default=True)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON alone.")


_FILE_WIDTH = 200
"""Columns of a table that goes to a file or a pipe."""


_LARGEST_SIDE = 16384
"""Pixels of a side: a square of them is 3.2 GB as floats, before a network has seen it."""


NO_WINDOW = "none"
"""Says that pictures are scored whole, whatever the recipe says."""


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """HxW in pixels."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        sides = re.fullmatch(r"0*([1-9][0-9]*)x0*([1-9][0-9]*)", str(value), re.IGNORECASE)
        if not sides:
            self.fail(f"{value!r} is no size; write HEIGHTxWIDTH, for example 360x480", param, ctx)
        height, width = sides.groups()
        if (
            max(len(height), len(width)) > len(str(_LARGEST_SIDE))
            or max(int(height), int(width)) > _LARGEST_SIDE
        ):
            self.fail(f"{value!r} is too large; {_LARGEST_SIDE} pixels a side are the most", param, ctx)
        return int(height), int(width)


class WindowType(SizeType):
    """HxW in pixels, or none."""

    name = "HxW|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == NO_WINDOW else super().convert(value, param, ctx)


class Finite(click.FloatRange):
    """A number of a range that is one: no bound stops nan, which no comparison holds for, and inf has no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number; write one, for example 0.5", param, ctx)
        return number


class ScalesType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Positive numbers with commas between."""

    name = "S,S,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            scales = tuple(float(scale) for scale in str(value).split(","))
        except ValueError:
            scales = ()
        if not scales or not all(0 < scale < float("inf") for scale in scales):
            self.fail(f"{value!r} are no scales; write positive numbers, for example 0.75,1,1.25", param, ctx)
        return scales


def print_json(value: Any) -> None:
    """`value` as JSON, alone on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # What is not UTF-8 in a file's name becomes \udcXX, which is how JSON escapes it.
    click.echo(text.encode("utf-8", "backslashreplace").decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under a header on stdout; None is a dash, a float has two decimals, a long word is folded, not cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in header:
        table.add_column(Text(title), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
