"""`kd-deploy parity`, `benchmark` and `infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kd_deploy.cli import options

bundle = click.argument("bundle", type=click.Path(path_type=Path))


@click.command()
@bundle
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


@click.command()
@bundle
@click.option("--backend", "backends", multiple=True, default=("onnxruntime-cpu",), show_default=True)
@options.precision
@click.option(
    "--boundary",
    "boundaries",
    type=click.Choice(["session", "frame"]),
    multiple=True,
    default=("session", "frame"),
    show_default=True,
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Each, at least."
)
@options.as_json
def benchmark(
    bundle: Path,
    backends: tuple[str, ...],
    precision: str,
    boundaries: tuple[Any, ...],
    batch: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time backends on the golden frames, interleaved, with every sample kept in benchmark.json."""
    from contextlib import ExitStack

    from kd_deploy.runtime.benchmark import benchmark_bundle
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.model import open_model

    opened = Bundle.open(bundle)
    with ExitStack() as stack:
        models = [
            stack.enter_context(open_model(opened, backend=name, precision=precision))
            for name in dict.fromkeys(backends)
        ]
        chosen = list(dict.fromkeys(boundaries))
        result = benchmark_bundle(opened, models, boundaries=chosen, batch=batch, seconds=seconds)
    if as_json:
        options.print_json(result)
        return
    names = ("backend", "precision", "boundary", "batch", "size", "n", "p50_ms", "p90_ms", "p99_ms", "fps")
    options.print_table(names, [[entry[name] for name in names] for entry in result["results"]])
    click.echo(f"{result['environment']['cpu']}, {result['environment']['cores']} cores")
    for note in dict.fromkeys(entry["noise"] for entry in result["results"] if entry["noise"]):
        click.echo(note)


@click.command()
@bundle
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
