"""`kd-deploy parity`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.parity import ParityReport

_HEADER = (
    "backend", "precision", "mIoU", "drop", "boundary IoU", "drop", "agreement, %", "masks' IoU", "worst class",
    "drop", "frames", "verdict",
)  # fmt: skip


@click.command()
@options.bundle
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled data (`synthetic` draws it); else the golden frames.",
)
@options.split
@click.option(
    "--backend", "backends", multiple=True, default=("onnxruntime-cpu",), show_default=True,
    help="What runs the bundle; several make a table, a line each.",
)  # fmt: skip
@click.option("--precision", "precisions", multiple=True, default=("fp32",), show_default=True)
@click.option("--max-miou-drop", type=options.Finite(min=0), help="Points; else the bundle's own limit.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Write the frames that agree least here.")
@options.as_json
def parity(
    bundle: Path,
    data: Path | None,
    split: str,
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    max_miou_drop: float | None,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Gate backends and precisions against PyTorch; exit 4 where one fails."""
    from kd_deploy.runtime.bundle import Bundle

    opened, chain = Bundle.open(bundle), _chain(backends, precisions)
    if data is None:
        _refuse_without_data("split", "max_miou_drop")
        reports = _judge_golden(opened, chain)
    else:
        reports = _judge_labelled(opened, chain, data, split, max_miou_drop)
    _print_parity([report.to_json() for report in reports], as_json)
    failed = any(report.verdict == "fail" for report in reports)
    if pictures:
        _write_pictures(opened, chain, reports, pictures, failed=failed)
    if failed:
        raise click.exceptions.Exit(4)


def _chain(backends: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Each backend with each precision; PyTorch is the float32 reference, so beside others it stands there once."""
    several = len(backends) > 1
    pairs = [(b, "fp32" if several and b == "torch" else p) for b in backends for p in precisions]
    return list(dict.fromkeys(pairs))


def _judge_golden(bundle: Bundle, chain: Sequence[tuple[str, str]]) -> list[ParityReport]:
    from kd_deploy.runtime.model import open_model
    from kd_deploy.runtime.parity import check_bundle

    reports = []
    for backend, precision in chain:
        with open_model(bundle, backend=backend, precision=precision) as candidate:
            reports.append(check_bundle(bundle, candidate))
    return reports


def _judge_labelled(
    bundle: Bundle, chain: Sequence[tuple[str, str]], data: Path, split: str, max_miou_drop: float | None
) -> list[ParityReport]:
    from contextlib import ExitStack

    from kd_deploy.data.dataset import frames
    from kd_deploy.deploy import bundle_dataset
    from kd_deploy.export.measure import Remembered
    from kd_deploy.progress import counted
    from kd_deploy.runtime.model import open_model
    from kd_deploy.runtime.parity import check_bundle

    dataset, reports, named = bundle_dataset(bundle, data, split), [], _name(bundle, data)
    with ExitStack() as stack:
        reference = stack.enter_context(open_model(bundle, backend="torch"))
        if len(chain) > 1:
            reference = stack.enter_context(Remembered(reference))
        for backend, precision in chain:
            with open_model(bundle, backend=backend, precision=precision) as candidate:
                labelled = counted(f"parity {backend} {precision}", frames(dataset), len(dataset))
                report = check_bundle(
                    bundle,
                    candidate,
                    reference,
                    labelled,
                    max_miou_drop=max_miou_drop,
                    data=named,
                    split=split,
                )
            reports.append(report)
    return reports


def _write_pictures(
    bundle: Bundle,
    chain: Sequence[tuple[str, str]],
    reports: Sequence[ParityReport],
    folder: Path,
    *,
    failed: bool,
) -> None:
    """Write each report's worst frames. Where the gate failed, its exit code matters more than a write that fails."""
    from kd_deploy.runtime.errors import UserError
    from kd_deploy.runtime.parity import write_worst

    try:
        for (backend, precision), report in zip(chain, reports, strict=True):
            own = folder if len(chain) == 1 else folder / f"{backend}-{precision}"
            write_worst(report, bundle.palette, own)
    except UserError as error:
        if not failed:
            raise
        click.echo(f"error: {error}", err=True)


def _name(bundle: Bundle, data: Path) -> str:
    """Format and folder of a data set, such as "camvid CamVid"; or `synthetic`."""
    kind = str(bundle.manifest["data"]["format"])
    return kind if kind == "synthetic" else f"{kind} {data.resolve().name}"


def _refuse_without_data(*names: str) -> None:
    """Refuse options that the golden frames, which have no labels, would ignore."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} needs --data; the golden frames have no labels", context)


def _print_parity(results: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        failed = any(result["verdict"] == "fail" for result in results)
        several = {"verdict": "fail" if failed else "pass", "results": results}
        options.print_json(results[0] if len(results) == 1 else several)
    elif len(results) == 1:
        _print_one(results[0])
    else:
        options.print_table(_HEADER, [_row(result) for result in results])
        for result in results:
            for reason in result["reasons"]:
                click.echo(f"{result['candidate']['backend']} {result['candidate']['precision']}: {reason}")


def _row(result: dict[str, Any]) -> tuple[object, ...]:
    candidate = result["candidate"]
    return (
        candidate["backend"],
        candidate["precision"],
        candidate["miou"],
        result["miou_drop"],
        candidate["boundary_iou"],
        result["boundary_drop"],
        f"{result['pixel_agreement']:.3f}",
        result["mask_iou"],
        result["worst_class"],
        result["worst_class_drop"],
        f"{result['frames']} {_source(result)}",
        result["verdict"],
    )


def _source(result: dict[str, Any]) -> str:
    """Where its frames come from."""
    return "golden" if result["golden"] else f"{result['data']} {result['split']}"


def _print_one(result: dict[str, Any]) -> None:
    sides = [result["reference"], result["candidate"]]
    rows = [
        (name, *(side[name] for side in sides))
        for name in ("backend", "precision", "miou", "boundary_iou", "pixel_accuracy")
        if result["reference"][name] is not None  # no scores without labels
    ]
    options.print_table(("", "reference", "candidate"), rows)
    names = (("miou_drop", "mIoU"), ("boundary_drop", "boundary IoU"))
    drops = [f"{name} drop {result[key]:.3f} points, " for key, name in names if result[key] is not None]
    click.echo(
        f"{result['verdict']}: {''.join(drops)}{result['pixel_agreement']:.4f} % of pixels agree over "
        f"{result['frames']} {_source(result)} frames, worst class {result['worst_class']} "
        f"({result['worst_class_drop']:.2f} points)"
    )
    for reason in result["reasons"]:
        click.echo(f"  {reason}")
