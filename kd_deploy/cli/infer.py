"""`kd-deploy infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kd_deploy.cli import options


@click.command()
@options.bundle
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="OUT")
@click.option(
    "--overlay", "view", flag_value="overlay", default=True, help="Frame, colours, legend (default)."
)
@click.option("--mask", "view", flag_value="mask", help="Class ids as PNG; a video's in colours.")
@click.option("--side-by-side", "view", flag_value="side-by-side", help="The frame beside its overlay.")
@options.backend
@options.precision
@options.as_json
def infer(
    bundle: Path, source: Path, output: Path, view: Any, backend: str, precision: str, as_json: bool
) -> None:
    """Segment SOURCE, an image, a folder of images or a video, and write OUT."""
    from kd_deploy.progress import Progress
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.infer import infer as run_inference
    from kd_deploy.runtime.model import open_model

    opened = Bundle.open(bundle)
    with (
        open_model(opened, backend=backend, precision=precision) as model,
        Progress(source.name, None) as progress,
    ):
        report = run_inference(
            model,
            source,
            output,
            view=view,
            class_names=opened.classes,
            palette=opened.palette,
            progress=progress.advance,
        )
    if as_json:
        options.print_json(report.to_json())
        return
    click.echo(
        f"{report.output}: {report.frames} frames, {report.fps:.1f} a second ({report.boundary}: "
        f"{'file in, file out' if report.boundary == 'video' else 'decoded frame in, mask out'}) "
        f"on {report.model.backend} {report.model.precision}"
    )
    if report.failed:
        click.echo(f"{report.source}: {report.failed} frames could not be decoded", err=True)
    if report.skipped:
        click.echo(f"{report.source}: no pictures, left out: {', '.join(report.skipped)}", err=True)
