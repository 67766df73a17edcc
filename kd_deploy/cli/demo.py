"""`kd-deploy demo`."""

from __future__ import annotations

from pathlib import Path

import click

from kd_deploy.cli import options


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@options.overrides
def demo(output: Path, seed: int, overrides: tuple[str, ...]) -> None:
    """Run everything on drawn street scenes, on a CPU in minutes, and write OUTPUT/report.html."""
    from kd_deploy.demo import run_demo

    click.echo(run_demo(output, overrides, seed=seed))
