"""`kd-deploy build`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.engines.key import BuildOptions
    from kd_deploy.runtime.engines.store import EngineFile
    from kd_deploy.runtime.errors import UserError


class BatchType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """MIN,OPT,MAX frames in one run, or one number for all three."""

    name = "N or MIN,OPT,MAX"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        numbers = [int(part) for part in parts if part.strip().isdecimal()]
        if len(numbers) != len(parts) or len(parts) not in (1, 3):
            self.fail(f"{value!r} is no batch; write one number, or MIN,OPT,MAX such as 1,4,8", param, ctx)
        first, usual, last = numbers * 3 if len(numbers) == 1 else numbers
        return first, usual, last


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    help="One of the bundle's models; else all that are for a GPU.",
)
@click.option(
    "--batch", type=BatchType(), help="Frames in one run, where the bundle leaves that open; else 1."
)
@click.option("--workspace", type=int, metavar="MIB", help="Memory for a layer; else from what is free.")
@click.option("--level", type=int, help="0, built quickly, to 5, runs fast; else TensorRT's own.")
@click.option("--dla", type=int, metavar="CORE", help="On a Jetson's accelerator, the GPU for the rest.")
@click.option("--version-compatible", is_flag=True, help="For later TensorRT too; for trusted files only.")
@click.option("--hardware-compatible", is_flag=True, help="For other GPUs from Ampere on too; slower.")
@click.option("--force", is_flag=True, help="Build although the engine is there.")
@options.as_json
def build(bundle: Path, precisions: tuple[str, ...], force: bool, as_json: bool, **choices: Any) -> None:
    """Build BUNDLE's TensorRT engines for this very machine, check them, and keep them in BUNDLE/engines."""
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.engines.key import BuildOptions

    engines, failure = build_all(Bundle.open(bundle), precisions, BuildOptions(**choices), force=force)
    if as_json:
        options.print_json([engine.to_json() for engine in engines])
    else:
        print_engines(engines)
    if failure:
        raise failure


def build_all(
    bundle: Bundle, precisions: Sequence[str] = (), wanted: BuildOptions | None = None, *, force: bool = False
) -> tuple[list[EngineFile], UserError | None]:
    """Build the precisions, or all that are for a GPU, one after the other under a progress bar.

    One that fails does not stop the next: a TensorRT without bf16 has int8 all the same.

    Returns:
        The engines that were built or found, and the failure with the highest exit code; the others are printed.
    """
    from kd_deploy.progress import Progress
    from kd_deploy.runtime.engines.make import build_engine
    from kd_deploy.runtime.errors import UserError

    engines = []
    failures: dict[str, UserError] = {}  # by message: a library is missing for every precision, and said once
    for precision in dict.fromkeys(precisions or _for_gpu(bundle.manifest["models"])):
        try:
            with Progress(f"build {precision}", 100) as progress:
                engines.append(build_engine(bundle, precision, wanted, progress.advance, force=force))
        except UserError as error:
            failures.setdefault(str(error), error)
    worst = max(failures.values(), key=lambda failure: failure.exit_code, default=None)
    for failure in failures.values():
        if failure is not worst:
            click.echo(f"error: {failure}", err=True)
    return engines, worst


def print_engines(engines: Sequence[EngineFile]) -> None:
    """A table of the engines, and how NVIDIA's own tool loads each."""
    rows = [
        (
            engine.key.precision,
            engine.path,
            f"{engine.path.stat().st_size / 2**20:.1f}",
            "found" if engine.cached else f"built in {engine.facts['seconds']:.0f} s",
            engine.facts.get("golden", {}).get("pixel_agreement"),
            _layers(engine.facts.get("layers")),
        )
        for engine in engines
    ]
    if rows:
        options.print_table(
            ("precision", "engine", "MiB", "", "golden agreement, %", "layers confirmed"), rows
        )
    for engine in engines:
        click.echo(engine.trtexec)


def _layers(verdict: Any) -> str:
    """How many of the layers that were asked for in the precision have it, by the engine inspector."""
    if not isinstance(verdict, dict):
        return "-"
    counts = {key: verdict.get(key, 0) for key in ("confirmed", "asked", "unknown")}
    unknown = f", {counts['unknown']} it does not tell" if counts["unknown"] else ""
    return f"{counts['confirmed']} of {counts['asked']}{unknown}"


def _for_gpu(precisions: Any) -> list[str]:
    """All but those whose name says that they are for a processor, such as int8-cpu."""
    return [name for name in precisions if not name.endswith("-cpu")]
