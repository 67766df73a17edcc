"""`kd-deploy data`: which data sets can be read, and a check of one on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.data.check import Report

FORMATS = ("camvid", "cityscapes", "voc", "ade20k", "coco_stuff10k", "folder")
"""Of data sets on disk."""

_SHOWN = 20
"""Problems of a kind in the table; --json has all."""


@click.group()
def data() -> None:
    """The data sets' formats, and a check of yours."""


@data.command("list")
@options.as_json
def list_formats(as_json: bool) -> None:
    """List the formats and the files that each expects."""
    from kd_deploy.data.dataset import READERS

    readers = [(name, len(reader.classes) or None, reader.layout) for name, reader in READERS.items()]
    if as_json:
        keys = ("format", "classes", "layout")
        options.print_json([dict(zip(keys, row, strict=True)) for row in readers])
    else:
        options.print_table(("format", "classes", "layout"), readers)


@data.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--format", "data_format", type=click.Choice(FORMATS), required=True)
@click.option("--split", "splits", multiple=True, default=("train", "val"), show_default=True)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the class frequencies."
)
@options.as_json
def check(root: Path, data_format: str, splits: tuple[str, ...], plot: Path | None, as_json: bool) -> None:
    """Decode every file of the data set in ROOT; report each problem, the sizes and the class frequencies."""
    from kd_deploy.data.check import check as walk
    from kd_deploy.runtime.errors import UserError

    if plot and plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: is no PNG; end the name in .png")
    report = walk(root, data_format, splits)
    if as_json:
        options.print_json(report.to_json())
    else:
        _print(report)
    if plot:
        from kd_deploy.data.plot import plot_frequencies

        plot_frequencies(report, plot)
    if count := len(report.problems):
        raise UserError(f"{root}: {count} problem{'s' if count > 1 else ''}")


def _print(report: Report) -> None:
    if report.problems:
        _print_problems(report)
    sizes = ("most_common", "smallest", "largest")
    rows = []
    for split, counts in report.splits.items():
        extremes = {key: f"{height}x{width}" for key, (height, width) in counts.extremes().items()}
        rows.append((split, counts.frames, *(extremes.get(key) for key in sizes), counts.ignored_percent))
    options.print_table(("split", "frames", "most common size", "smallest", "largest", "ignored %"), rows)
    header = [f"{split}: {what} %" for split in report.splits for what in ("pixels", "frames")]
    options.print_table(
        ("class", *header),
        [
            (
                name,
                *(
                    _share(share)
                    for counts in report.splits.values()
                    for share in (counts.pixel_percent(number), counts.frame_percent(number))
                ),
            )
            for number, name in enumerate(report.classes)
        ],
    )
    for split, counts in report.splits.items():
        if counts.labels and (absent := report.absent(split)):
            click.echo(
                f"warning: {split}: {len(absent)} of {len(report.classes)} classes never occur: {', '.join(absent)}"
            )
    if not report.problems:
        click.echo(f"{report.root}: {report.total().frames} frames, no problems")


def _print_problems(report: Report) -> None:
    from kd_deploy.data.problems import KINDS

    rows = []
    for kind in KINDS:
        found = [(kind, split, error) for split, error in report.problems if error.kind == kind]
        rows += [
            (kind, split, str(error).replace(f"{report.root}/", "")) for kind, split, error in found[:_SHOWN]
        ]
        if len(found) > _SHOWN:
            rows.append((kind, "", f"... and {len(found) - _SHOWN} more"))
    options.print_table(("problem", "split", f"in {report.root}"), rows)


def _share(percent: float | None) -> str | None:
    """Three digits: rare classes have few pixels."""
    return f"{percent:.3g}" if percent else None
