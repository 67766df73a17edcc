"""`kd-deploy train`, `distill` and `evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.config.schema import Recipe

out = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="RUN")
seed = click.option(
    "--seed", type=click.IntRange(min=0), help="Short for --set train.seed=N, the teacher's too."
)
resume = click.option("--resume", is_flag=True, help="Go on with the run in RUN from its last checkpoint.")


@click.command()
@click.argument("recipe")
@click.option("--role", type=click.Choice(["teacher", "student"]), required=True)
@out
@options.overrides
@seed
@options.device
@resume
def train(
    recipe: str,
    role: str,
    output: Path,
    overrides: tuple[str, ...],
    seed: int | None,
    device: str,
    resume: bool,
) -> None:
    """Train the teacher, or the student alone, of RECIPE from the labels."""
    from kd_deploy.training.train import train as run_training

    loaded = _load(recipe, overrides, seed)
    summary = run_training(loaded, role, output, device=device, resume=resume)
    if _main_process():
        _print_summary(output, summary)


@click.command()
@click.argument("recipe")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="RUN", help="Required, but for --dry-run."
)
@click.option("--teacher", metavar="RUN|FILE|hub:ID", help="The trained teacher; else teacher.weights.")
@options.overrides
@seed
@options.device
@resume
@click.option(
    "--dry-run", is_flag=True, help="Train nothing: measure the terms on a few batches, to balance them."
)
@options.as_json
def distill(
    recipe: str,
    output: Path | None,
    teacher: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    device: str,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the student of RECIPE with its distillation terms."""
    from kd_deploy.training.train import distill as run_distillation

    loaded = _load(recipe, overrides, seed)
    if dry_run:
        _print_balance(loaded, teacher, device, as_json)
        return
    if output is None:
        raise click.MissingParameter(param_hint="'-o' / '--output'", param_type="option")
    summary = run_distillation(loaded, output, teacher=teacher, device=device, resume=resume)
    if as_json and _main_process():
        options.print_json(summary)
    elif _main_process():
        _print_summary(output, summary)


def _print_balance(recipe: Recipe, teacher: str | None, device: str, as_json: bool) -> None:
    from dataclasses import asdict

    from kd_deploy.training.balance import BATCHES, measure

    weighed = measure(recipe, teacher=teacher, device=device)
    if as_json:
        options.print_json([asdict(term) for term in weighed])
        return
    header = ("term", "reads", "value", "weight", "schedule", "weighted", "gradient", "of ce's there")
    rows = [
        (t.name, " ".join(t.taps), t.raw, t.weight, t.schedule, t.weighted, t.gradient, t.share)
        for t in weighed
    ]
    options.print_table(header, [[_short(value) for value in row] for row in rows])
    click.echo(
        f"Means of {BATCHES} batches at the start of the run, schedules left out. gradient: L2 norm at what the term "
        "reads of the student; of ce's there: its share of what cross-entropy sends through the same place."
    )


def _short(value: object) -> object:
    return f"{value:.3g}" if isinstance(value, float) else value


def _load(recipe: str, overrides: Sequence[str], seed: int | None) -> Recipe:
    from kd_deploy.config.load import load_recipe

    loaded = load_recipe(recipe, overrides)
    return loaded if seed is None else loaded.seeded(seed)


def _main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # torchrun's others are silent


def _print_summary(run: Path, summary: dict[str, Any]) -> None:
    rows = [(name, summary[name]) for name in ("miou", "boundary_iou", "pixel_accuracy", "seconds")]
    options.print_table(("", str(run)), rows)


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|BUNDLE")
@options.data
@options.split
@click.option("--backend", help="What runs a bundle.  [default: onnxruntime-cpu]")
@options.precision
@options.device
@click.option(
    "--window",
    type=options.WindowType(),
    help="Slide a window of this size over each picture, or `none`; else the recipe's.",
)
@click.option("--stride", type=options.SizeType(), help="From window to window.  [default: 2/3 of it]")
@click.option("--scales", type=options.ScalesType(), help="Average over these scales; else the recipe's.")
@click.option("--flip/--no-flip", default=None, help="And over mirrored pictures; else the recipe's.")
@options.as_json
def evaluate(
    source: Path,
    data: Path | None,
    split: str,
    backend: str | None,
    precision: str,
    device: str,
    as_json: bool,
    **views: Any,  # the options that are keys of Views
) -> None:
    """Score a run (in PyTorch) or a bundle (on a backend) over a whole split."""
    from kd_deploy.config.views import Views
    from kd_deploy.deploy import open_for_evaluation
    from kd_deploy.evaluate import score, to_json
    from kd_deploy.progress import Progress

    asked = {key: value for key, value in views.items() if value is not None}
    model, dataset = open_for_evaluation(
        source, data, split, backend=backend, precision=precision, device=device, views=asked
    )
    with model, Progress("evaluate", len(dataset)) as progress:
        result = to_json(score(model, dataset, progress=lambda done, total: progress.advance(done)), model)
    if as_json:
        options.print_json(result)
        return
    scores = [(name, result[name]) for name in ("miou", "boundary_iou", "pixel_accuracy", "mean_accuracy")]
    scores += [(f"trimap_iou {width} px", iou) for width, iou in result["trimap_iou"].items()]
    classes = [(f"  {name}", iou) for name, iou in result["classes"].items()]
    title = (
        f"{source} on {result['backend']} {result['precision']}, {result['images']} images, "
        f"{Views(**result['views'])}"
    )
    options.print_table(("", title), [*scores, *classes])
