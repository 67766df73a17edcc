"""`kd-deploy export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.errors import UserError

_LARGEST = 8
"""The batch that Triton may form of single requests, where the graph takes any."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-cpu")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="BUNDLE")
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    help="Beside fp32, which is always there; int8 is TensorRT's, int8-cpu a processor's. May be given again.",
)
@click.option("--size", type=options.SizeType(), help="Frames the bundle takes; else the data set's.")
@click.option("--batch", type=click.IntRange(min=1), help="Fix the number of frames in one run.")
@click.option(
    "--dynamic",
    type=click.Choice(["batch", "size"]),
    multiple=True,
    help="What stays free.  [default: batch, unless --batch fixes it]",
)
@click.option(
    "--calibration", type=click.IntRange(min=1), default=32, show_default=True, help="Training frames."
)
@click.option(
    "--measured",
    type=click.IntRange(min=1),
    help="Val frames that every model is scored on.  [default: 100 with --precision, else none]",
)
@click.option("--simplify", is_flag=True, help="Let onnxsim go over the graphs.")
@click.option("--trt", is_flag=True, help="Build TensorRT engines too, for this very machine.")
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write models for Triton into this model repository; other models there stay.",
)
@options.data
@click.option(
    "--force",
    "--overwrite",
    "force",
    is_flag=True,
    help="Replace BUNDLE once the new one is written and checked, and Triton models that kd-deploy wrote.",
)
def export(
    run: Path,
    output: Path,
    precisions: tuple[Any, ...],
    size: tuple[int, int] | None,
    batch: int | None,
    dynamic: tuple[str, ...],
    calibration: int,
    measured: int | None,
    simplify: bool,
    trt: bool,
    triton: Path | None,
    data: Path | None,
    force: bool,
) -> None:
    """Write the bundle of a finished RUN: ONNX, golden frames, manifest; checked before it appears."""
    if batch and "batch" in dynamic:
        raise click.UsageError("--batch fixes what --dynamic batch leaves free; choose one")
    from kd_deploy.deploy import MEASURED, Wanted, export_run

    chosen = tuple(name for name in dict.fromkeys(precisions) if name != "fp32")
    if triton:
        _check_repository(run, output, triton, ["fp32", *chosen], replace=force)
    wanted = Wanted(
        size=size,
        batch=batch,
        free_size="size" in dynamic,
        precisions=chosen,
        calibration=calibration,
        measured=measured or (MEASURED if precisions else None),
        simplify=simplify,
    )
    bundle = export_run(run, output, wanted, root=data, replace=force)
    _print_models(bundle)
    _print_operators(bundle)
    missing = _build_engines(bundle) if trt else None
    if triton:
        _print_repository(bundle, triton, ["fp32", *chosen], replace=force)
    if missing:
        raise missing


def _check_repository(run: Path, output: Path, folder: Path, precisions: list[str], *, replace: bool) -> None:
    """Raise a UserError where the Triton models could not be written at the end of a long export."""
    from kd_deploy.export.triton import check_place, network_name
    from kd_deploy.run import Run
    from kd_deploy.runtime.errors import UserError

    ours, theirs = output.resolve(), folder.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise UserError(
            f"--triton {folder}: bundle and repository cannot lie in each other (-o {output}); name another folder"
        )
    network = Run.open(run).network
    check_place(folder, network_name(network.arch, network.encoder), precisions, replace=replace)


def _build_engines(bundle: Bundle) -> UserError | None:
    """Build them and hand back the worst failure: the rest of the export does not need them."""
    from kd_deploy.cli.build import build_all, print_engines

    engines, failure = build_all(bundle)
    print_engines(engines)
    return failure


def _print_repository(bundle: Bundle, folder: Path, precisions: list[str], *, replace: bool) -> None:
    from kd_deploy.export.triton import write_repository

    repository = write_repository(
        bundle, folder, precisions=precisions, max_batch=bundle.batch or _LARGEST, replace=replace
    )
    click.echo(f"{folder}: {', '.join(model.name for model in repository.served)}")
    for line in repository.left_out:
        click.echo(line)


def _print_models(bundle: Bundle) -> None:
    from kd_deploy.export.measure import time_against_fp32
    from kd_deploy.export.precisions import FOR_CPU

    entries = {entry["candidate"]["precision"]: entry for entry in bundle.ledger() if "role" not in entry}
    chosen = bundle.manifest["precisions"]
    speeds = time_against_fp32(bundle, [name for name in entries if name != FOR_CPU]) if entries else {}
    rows = []
    for name, file in bundle.manifest["models"].items():
        entry = entries.get(name, {"candidate": {}})
        scores = [entry["candidate"].get(key) for key in ("miou", "boundary_iou")]
        speed = speeds.get(name)
        megabytes = bundle.file(file).stat().st_size / 1e6
        agreement = entry.get("pixel_agreement")
        rows.append((name, file, f"{megabytes:.1f}", agreement, *scores, speed and speed.ratio))
    header = ("", str(bundle.path), "MB", "agreement, %", "mIoU", "boundary IoU", "time / fp32-cpu")
    options.print_table(header, rows)
    height, width = bundle.size
    number = bundle.batch or "N"
    click.echo(
        f"frame: uint8 ({number}, {height}, {width}, 3) BGR; mask: uint8 ({number}, {height}, {width}), "
        f"{len(bundle.classes)} classes; {len(bundle.manifest['golden'])} golden frames agree with PyTorch"
    )
    for name in chosen:
        if note := chosen[name].get("note"):
            click.echo(note)
    for speed in speeds.values():
        click.echo(speed.sentence)


def _print_operators(bundle: Bundle) -> None:
    """What TensorRT's parser does not take, learned before the device is reached."""
    from kd_deploy.export.operators import check, render
    from kd_deploy.runtime.bundle import made_for_cpu

    names = [name for name in bundle.manifest["models"] if not made_for_cpu(name)]
    for line in render({name: check(bundle.model_file(name)) for name in names}):
        click.echo(line)
