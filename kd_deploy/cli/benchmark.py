"""`kd-deploy benchmark`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kd_deploy.cli import options

if TYPE_CHECKING:
    from kd_deploy.runtime.benchmark.turns import Progress
    from kd_deploy.runtime.bundle import Bundle

_BACKENDS, _PRECISIONS, _BOUNDARIES = ("onnxruntime-cpu",), ("fp32",), ("session", "frame")

_PERCENT = 100


@click.command()
@options.bundle
@click.option(
    "--backend", "backends", multiple=True, help="What runs it; several are compared. [onnxruntime-cpu]"
)
@click.option(
    "--precision", "precisions", multiple=True, help="Several are combined with the backends. [fp32]"
)
@click.option(
    "--against", metavar="BACKEND", help="Time this backend's fp32 too, and give times as its multiples."
)
@click.option(
    "--fastest", is_flag=True, help="Name the fastest that this machine runs and the golden frames pass."
)
@click.option(
    "--boundary",
    "boundaries",
    type=click.Choice(["session", "frame", "video"]),
    multiple=True,
    help="Tensors to masks, frames to masks, file to file. [session, frame]",
)
@click.option(
    "--video", type=click.Path(path_type=Path), metavar="FILE", help="Time the boundary video on FILE too."
)
@click.option(
    "--frame-size",
    type=options.SizeType(),
    help="Bring the golden frames to a camera's size for the boundary frame; else they have the model's.",
)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--seconds", type=options.Finite(min=0), default=5.0, show_default=True, help="Each, at least.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Processor threads of each backend; else its own choice."
)
@options.as_json
def benchmark(
    bundle: Path,
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    against: str | None,
    fastest: bool,
    boundaries: tuple[Any, ...],
    video: Path | None,
    frame_size: tuple[int, int] | None,
    batch: int,
    seconds: float,
    threads: int | None,
    as_json: bool,
) -> None:
    """Time backends and precisions on the golden frames, in turns, with every sample kept in benchmark.json."""
    from kd_deploy.runtime.benchmark.fastest import find_fastest
    from kd_deploy.runtime.benchmark.opening import configurations, open_all
    from kd_deploy.runtime.benchmark.results import benchmark_bundle
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.errors import UserError

    if fastest and (against or boundaries or video):
        raise click.UsageError(
            "--fastest times frame to mask alone; leave --against, --boundary and --video out"
        )
    if frame_size and boundaries and "frame" not in boundaries:
        raise click.UsageError("--frame-size is of the boundary frame alone; add --boundary frame")
    if video and not video.is_file():
        raise UserError(f"{video}: no such video file; check the path")
    opened = Bundle.open(bundle)
    if fastest:
        with _progress() as progress:
            result = find_fastest(
                opened,
                backends=backends or None,
                wanted=precisions or None,
                batch=batch,
                seconds=seconds,
                threads=threads,
                frame_size=frame_size,
                progress=progress,
            )
        _print_fastest(opened, result, as_json)
        return
    wanted = configurations(opened, backends or _BACKENDS, precisions or _PRECISIONS)
    if against:
        wanted = list(dict.fromkeys([(against, "fp32"), *wanted]))
    chosen = dict.fromkeys([*(boundaries or _BOUNDARIES), *(["video"] if video else [])])
    with open_all(opened, wanted, threads) as models, _progress() as progress:
        result = benchmark_bundle(
            opened,
            [each.model for each in models],
            boundaries=list(chosen),
            batch=batch,
            seconds=seconds,
            frame_size=frame_size,
            video=video,
            facts=[each.to_json() for each in models],
            progress=progress,
        )
    _print_timings(result, as_json)


@contextmanager
def _progress() -> Iterator[Progress]:
    from kd_deploy.progress import Progress

    with Progress("benchmark", _PERCENT, still=True) as bar:
        yield lambda share: bar.advance(max(1, round(_PERCENT * share)))


def _print_timings(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        options.print_json(result)
        return
    entries = result["results"]
    names = ["backend", "precision", "boundary", *(["frame_size"] if any(map(_resized, entries)) else [])]
    names += ["n", "min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms", "fps"]
    names += [name for name in ("device_p50_ms", "energy_mj") if any(entry[name] for entry in entries)]
    names += ["ratio"] if len({(entry["backend"], entry["precision"]) for entry in entries}) > 1 else []
    rows = [[*(entry[name] for name in names), "yes" if entry["noise"] else "no"] for entry in entries]
    options.print_table([*names, "noisy"], rows)
    _print_where(result)


def _resized(entry: dict[str, Any]) -> bool:
    """Whether its frames had another size than the model takes."""
    return entry["frame_size"] not in (None, entry["size"])


def _print_where(result: dict[str, Any]) -> None:
    """The line under a table: batch, size, machine, memory, power; and what made the timings noisy."""
    where, entries = result["environment"], result["results"]
    mode = f", power mode {where['power_mode']}" if where["power_mode"] else ""
    if entries:
        sizes = ", ".join(dict.fromkeys(entry["size"] for entry in entries))
        click.echo(f"batch {max(entry['batch'] for entry in entries)} of {sizes}")
    click.echo(f"{where['cpu']}, {where['cores']} cores{mode}")
    if entries and (peak := entries[-1]["memory"]["ran"]["peak_mb"]):
        on_gpu = max((entry["memory"]["ran"]["gpu_mb"] or 0 for entry in entries), default=0)
        more = f"; {on_gpu:.0f} MB of the GPU in use" if on_gpu else ""
        click.echo(f"memory: {peak:.0f} MB at the peak, all of the above in one process{more}")
    for entry in entries:
        if entry["power"]:
            click.echo(
                f"{entry['backend']} {entry['precision']}, {entry['boundary']}: {_power(entry['power'])}"
            )
    for note in dict.fromkeys(entry["noise"] for entry in entries if entry["noise"]):
        noisy = [entry for entry in entries if entry["noise"] == note]
        names = [f"{entry['backend']} {entry['precision']}, {entry['boundary']}" for entry in noisy]
        click.echo(note if len(noisy) == len(entries) else f"{'; '.join(names)}: {note}")


def _power(power: dict[str, Any]) -> str:
    """What tegrastats said while one model ran, as far as it said it."""
    parts = (
        [f"{power['total_mw'] / 1000:.2f} W ({' + '.join(power['total_of'])})"] if power["total_of"] else []
    )
    for name, unit in (("gpu_mhz", "GPU"), ("cpu_mhz", "CPU")):
        if power[name]:
            parts.append(f"{unit} {power[name][0]} to {power[name][1]} MHz")
    if power["hottest_c"] is not None:
        parts.append(f"{power['hottest_c']:.0f} °C at most")
    return ", ".join(parts)


def _print_fastest(bundle: Bundle, result: dict[str, Any], as_json: bool) -> None:
    """Verdicts, and the winner with the command that uses it; exit 4 where none passes, 3 where none could run."""
    candidates, winner = result["fastest"]["candidates"], result["fastest"]["winner"]
    if as_json:
        options.print_json(result)
    else:
        names = ("backend", "precision", "verdict", "agreement", "p50_ms", "fps", "reason")
        options.print_table(names, [[candidate[name] for name in names] for candidate in candidates])
        _print_where(result)
    if winner is None:
        failed = any(candidate["verdict"] == "fail" for candidate in candidates)
        click.echo(
            f"none passes: {'the golden frames fail it' if failed else 'nothing could be run'}", err=True
        )
        raise click.exceptions.Exit(4 if failed else 3)
    if not as_json:
        entry = result["results"][0]  # whose frames were everyone's
        frame = f"a frame of {entry['frame_size']}" if _resized(entry) else "frame"
        click.echo(
            f"fastest that passes: {winner['backend']} {winner['precision']}, {winner['p50_ms']:.2f} ms from {frame} "
            f"to mask ({winner['fps']:.1f} frames a second)\n{winner['command']}"
        )
