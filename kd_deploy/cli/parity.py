"""`kd-deploy parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kd_deploy.cli import options


@click.command()
@options.bundle
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled data (`synthetic` draws it); else the golden frames.",
)
@options.split
@options.backend
@options.precision
@click.option("--max-miou-drop", type=click.FloatRange(min=0), help="Points; else the bundle's own limit.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write the frames that agree least here.")
@options.as_json
def parity(
    bundle: Path,
    data: Path | None,
    split: str,
    backend: str,
    precision: str,
    max_miou_drop: float | None,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Gate a backend against PyTorch; exit 4 where it fails."""
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.model import open_model
    from kd_deploy.runtime.parity import check_bundle, write_worst

    opened = Bundle.open(bundle)
    with open_model(opened, backend=backend, precision=precision) as candidate:
        if data is None:
            _refuse_without_data("split", "max_miou_drop")
            report = check_bundle(opened, candidate)
        else:
            from kd_deploy.data.dataset import frames
            from kd_deploy.deploy import bundle_dataset
            from kd_deploy.progress import counted

            dataset = bundle_dataset(opened, data, split)
            labelled = counted("parity", frames(dataset), len(dataset))
            with open_model(opened, backend="torch") as reference:
                report = check_bundle(opened, candidate, reference, labelled, max_miou_drop=max_miou_drop)
    if pictures:
        write_worst(report, opened.palette, pictures)
    _print_parity(report.to_json(), as_json)
    if report.verdict == "fail":
        raise click.exceptions.Exit(4)


def _refuse_without_data(*names: str) -> None:
    """Refuse options that the golden frames, which have no labels, would ignore."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} needs --data; the golden frames have no labels", context)


def _print_parity(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        options.print_json(result)
        return
    sides = [result["reference"], result["candidate"]]
    rows = [
        (name, *(side[name] for side in sides))
        for name in ("backend", "precision", "miou", "boundary_iou", "pixel_accuracy")
        if result["reference"][name] is not None  # no scores without labels
    ]
    options.print_table(("", "reference", "candidate"), rows)
    drop = "" if result["miou_drop"] is None else f"mIoU drop {result['miou_drop']:.3f} points, "
    click.echo(
        f"{result['verdict']}: {drop}{result['pixel_agreement']:.4f} % of pixels agree over {result['frames']} "
        f"{'golden ' if result['golden'] else ''}frames, worst class {result['worst_class']}"
    )
    for reason in result["reasons"]:
        click.echo(f"  {reason}")
