"""`kd-deploy benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kd_deploy.cli import options


@click.command()
@options.bundle
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
