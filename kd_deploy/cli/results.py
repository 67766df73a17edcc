"""`kd-deploy compare` and `report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.compare import Comparison
    from kd_deploy.groups import Group, Spread

PLOTS = (".png", ".svg")

_HEADER = (
    "method",
    "seeds",
    "mIoU",
    "gap\nclosed",
    "boundary IoU",
    "gain",
    "trimap IoU",
    "ms a\nstep",
    "cost",
    "time\na run",
)
"""In two lines what would leave the methods no room in a terminal of 120 columns."""


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--seeds", is_flag=True, help="Show the mIoU of every seed.")
@click.option("--markdown", is_flag=True, help="Print the table as markdown.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw every seed, as .png or .svg."
)
@options.as_json
def compare(runs: Sequence[Path], seeds: bool, markdown: bool, plot: Path | None, as_json: bool) -> None:
    """Compare methods: finished runs of one data set, student and budget, grouped over their seeds.

    The share of the teacher's lead that a method closes needs the student alone among the runs; the teacher is
    found by itself where it still lies where it taught, else name its run too.
    """
    if markdown and as_json:
        raise click.UsageError("--markdown and --json are two forms of one result; choose one")
    if plot and plot.suffix.lower() not in PLOTS:
        raise click.BadParameter(f"{plot}: ends in neither {' nor '.join(PLOTS)}", param_hint="--plot")
    from kd_deploy.compare import compare as compare_runs

    comparison = compare_runs(runs)
    if plot:
        from kd_deploy.report.methods import write_methods

        write_methods(plot, comparison)
    if as_json:
        options.print_json(comparison.to_json())
    elif markdown:
        _print_markdown(comparison, seeds)
    else:
        _print_tables(comparison, seeds)


def _print_tables(comparison: Comparison, seeds: bool) -> None:
    for header, rows in _tables(comparison, seeds):
        options.print_table(header, rows)
    for line in (_shared(comparison), _meaning(), *comparison.notes):
        click.echo(line)


def _print_markdown(comparison: Comparison, seeds: bool) -> None:
    for header, rows in _tables(comparison, seeds):
        titles = [title.replace("\n", " ") for title in header]
        for row in (titles, ["---"] * len(header), *rows):
            click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        click.echo()
    click.echo("\n\n".join((_shared(comparison), _meaning(), *comparison.notes)))


def _tables(comparison: Comparison, seeds: bool) -> Iterator[tuple[Sequence[str], list[list[str]]]]:
    """Header and rows of the methods and, with `seeds`, of what each seed scored."""
    yield _HEADER, [_row(group) for group in comparison.groups]
    if seeds:
        every = [
            ", ".join(f"{run.seed}: {run.miou:.2f}" for run in group.runs) for group in comparison.groups
        ]
        names = [group.name for group in comparison.groups]
        yield ("method", "mIoU of every seed"), [list(row) for row in zip(names, every, strict=True)]


def _row(group: Group) -> list[str]:
    from kd_deploy.groups import TRIMAP

    trimap = group.trimap(TRIMAP)
    return [
        group.name,
        str(len(group.runs)),
        _spread(group.spread("miou")),
        _optional(group.gap_closed, "{:.0f} %"),
        _spread(group.spread("boundary_iou")),
        _optional(group.boundary_gain, "{:+.2f}"),
        _spread(trimap) if trimap else "-",
        f"{1000 * group.mean('seconds_per_step'):.0f}",
        _optional(group.cost, "{:.2f} x"),
        duration(group.mean("seconds")),
    ]


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.2f}" + ("" if spread.deviation is None else f" ± {spread.deviation:.2f}")


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def duration(seconds: float) -> str:
    """Seconds for a reader: 75 s, 12 min, 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _meaning() -> str:
    from kd_deploy.groups import TRIMAP

    return (
        "Scores in points on val; ± is the sample standard deviation over seeds. gap closed: (method - student alone) "
        "/ (teacher - student alone), of the mean mIoUs. gain, cost: against the student alone. trimap IoU: of the "
        f"pixels within {TRIMAP} of a boundary (--json has other widths). time: without evaluations."
    )


def _shared(comparison: Comparison) -> str:
    """What all the numbers are of."""
    from kd_deploy.finished import shown

    common = {k: value for k, value in comparison.settings.items() if value is not None and k != "classes"}
    return "Shared: " + ", ".join(f"{key} {shown(value)}" for key, value in common.items()) + "."


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|BUNDLE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page.  [default: SOURCE/report.html]"
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="What to set beside it: the student alone.",
)
@options.data
@options.device
def report(source: Path, output: Path | None, baseline: Path | None, data: Path | None, device: str) -> None:
    """Write a page that shows a run (curves, classes, confusion, frames) or a bundle (parity, latency, frames)."""
    from kd_deploy.report.page import check_replaceable, write_page
    from kd_deploy.runtime.bundle import MANIFEST

    page = output or source / "report.html"
    check_replaceable(page)
    if (source / MANIFEST).exists():
        if baseline or data:
            raise click.UsageError(
                "--baseline and --data are for a RUN; a bundle carries what its page shows"
            )
        from kd_deploy.report.bundle import bundle_page

        html = bundle_page(source)
    else:
        from kd_deploy.report.run import run_page

        html = run_page(source, baseline=baseline, root=data, device=device)
    click.echo(write_page(page, html))
