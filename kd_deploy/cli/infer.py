"""`kd-deploy infer`."""

from __future__ import annotations

import functools
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from kd_deploy.cli import options
from kd_deploy.runtime.errors import UserError

if TYPE_CHECKING:
    from kd_deploy.runtime.infer import Hud, InferReport

HELP = """Segment SOURCE and write OUT, show it, or both.

SOURCE is an image, a folder of images, a video, a camera (0, /dev/video1), an address (rtsp://, http://) or a
GStreamer pipeline ('nvarguscamerasrc ! ... ! appsink drop=true max-buffers=1 sync=false'). A live source ends with
Ctrl-C, q in its window, or --frames; OUT is complete then. One that falls silent is a failure, exit code 1.
"""


def _printable(text: str) -> str:
    """One line, whatever names are in it: control characters and bytes that are not UTF-8 as Python writes them."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def _errors_on_one_line(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        try:
            command(**arguments)
        except UserError as error:
            error.args = (_printable(str(error)),)
            raise

    return run


@click.command(help=HELP)
@options.bundle
@click.argument("source")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--overlay", "view", flag_value="overlay", default=True, help="Frame, colours, legend (default)."
)
@click.option("--mask", "view", flag_value="mask", help="Class ids as PNG; a video's in colours.")
@click.option("--side-by-side", "view", flag_value="side-by-side", help="The frame beside its overlay.")
@click.option("--show", is_flag=True, help="Show a video in a window; q or Esc ends it.")
@click.option("--hud/--no-hud", default=None, help="Rate, latency and drops in the file too, or nowhere.")
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="End a video after N frames.")
@click.option(
    "--fit",
    type=click.Choice(["resize", "letterbox"]),
    default="resize",
    show_default=True,
    help="How frames come to the network's size: stretched, as evaluation does, or whole between bars.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Networks that share the cores; by default one a core for a video file on the CPU, else one.",
)
@options.backend
@options.precision
@options.as_json
@_errors_on_one_line
def infer(
    bundle: Path,
    source: str,
    output: Path | None,
    view: Any,
    show: bool,
    hud: bool | None,
    frames: int | None,
    fit: Any,
    workers: int | None,
    backend: str,
    precision: str,
    as_json: bool,
) -> None:
    if output is None and not show:
        raise click.UsageError("Name an output with -o OUT, or pass --show.")
    from kd_deploy.progress import Progress
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.infer import Interrupted
    from kd_deploy.runtime.infer import infer as run_inference
    from kd_deploy.runtime.infer.workers import open_models, workers_for
    from kd_deploy.runtime.video.source import parse_source
    from kd_deploy.runtime.video.window import open_window

    place: Hud = "screen" if hud is None else "everywhere" if hud else "nowhere"
    parsed = parse_source(source)
    if parsed.note:
        click.echo(_printable(parsed.note), err=True)
    if not parsed.is_video and (hud is not None or workers is not None):
        raise UserError(f"{parsed.name}: only a video has a --hud or takes --workers; leave them out")
    with ExitStack() as stack:
        screen = stack.enter_context(open_window(f"kd-deploy: {parsed.name}")) if show else None
        opened = Bundle.open(bundle)
        count = workers or workers_for(parsed, backend)
        models = stack.enter_context(open_models(opened, count, backend=backend, precision=precision))
        progress = stack.enter_context(Progress(Path(parsed.name).name, None))
        stack.enter_context(_end_at_a_signal())
        interrupt: Interrupted | None = None
        try:
            report = run_inference(
                models,
                parsed,
                output,
                view=view,
                class_names=opened.classes,
                palette=opened.palette,
                fit=fit,
                hud=place,
                screen=screen,
                frames=frames,
                progress=progress.advance,
            )
        except Interrupted as error:
            interrupt, report = error, error.report
    if as_json:
        options.print_json(report.to_json())
    else:
        _print(report)
    _warn(report)
    if interrupt is not None:
        raise interrupt
    if report.ended:
        written = "" if output is None else f"; {output} holds what came before"
        raise UserError(f"{report.ended}; check that the source is on{written}")


def _print(report: InferReport) -> None:
    boundary = "decoded frame in, mask out"
    if report.boundary == "video":
        boundary = f"{'live source' if report.live else 'file'} in, {'screen' if report.output is None else 'file'} out"
    line = (
        f"{report.output or report.source}: {report.frames} frames, {report.fps:.1f} a second ({report.boundary}: "
        f"{boundary}) on {report.model.backend} {report.model.precision}"
    )
    if report.workers > 1:
        line += f", {report.workers} workers"
    if report.live:
        line += f"; {report.dropped} dropped"
    if report.latency_p50_ms is not None:
        line += f"; latency p50 {report.latency_p50_ms:.0f}, p99 {report.latency_p99_ms:.0f} ms"
    click.echo(_printable(line))


def _warn(report: InferReport) -> None:
    """What the user should know of the source, on stderr, a line each."""
    lines = []
    if report.failed:
        line = f"{report.source}: {report.failed} frames could not be decoded"
        if report.corrupt:
            line += f", {report.corrupt} of them in the middle"
        lines.append(f"{line}; it announced {report.frames + report.failed}")
    elif report.corrupt:
        lines.append(f"{report.source}: reading failed {report.corrupt} times and went on")
    if report.shorter:
        lines.append(
            f"{report.source}: ends {report.shorter} frames before the length that its container announces: it was cut "
            "short, or its sound goes on longer"
        )
    if report.skipped:
        lines.append(f"{report.source}: no pictures, left out: {', '.join(report.skipped)}")
    for line in lines:
        click.echo(_printable(line), err=True)


@contextmanager
def _end_at_a_signal() -> Iterator[None]:
    """SIGTERM (systemd, docker stop) and SIGHUP (a terminal or an ssh connection that closes) end as Ctrl-C does: the
    file is finished first, whatever signals follow."""
    from kd_deploy.runtime.interrupts import SIGNALS

    asked = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores one
    previous = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
