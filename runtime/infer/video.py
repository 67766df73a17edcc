"""A video from anywhere through one model or several, into a file, onto the screen, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Protocol

from kd_deploy.runtime.infer.painter import Hud, Image, Painter
from kd_deploy.runtime.infer.report import InferReport, Interrupted, Progress
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.overlay import caption
from kd_deploy.runtime.segment import Fit, segment
from kd_deploy.runtime.video.live import LiveVideo
from kd_deploy.runtime.video.meter import Meter
from kd_deploy.runtime.video.open import open_video
from kd_deploy.runtime.video.pipeline import ahead, in_order
from kd_deploy.runtime.video.reader import Shot, Video
from kd_deploy.runtime.video.source import Source
from kd_deploy.runtime.video.writer import Pace, VideoWriter, write_video

Segmented = tuple[Shot, Image]


class Screen(Protocol):
    """What shows pictures, such as `kd_deploy.runtime.video.window.Window`."""

    def show(self, picture: Image) -> bool:
        """Show a picture, (H, W, 3) uint8 BGR; False where the user wants no more."""
        ...


def infer_video(
    models: Sequence[Model],
    source: Source,
    output: Path | None,
    painter: Painter,
    fit: Fit,
    hud: Hud,
    screen: Screen | None,
    frames: int | None,
    progress: Progress,
) -> InferReport:
    """Decode, segment, and paint and encode at the same time, in order (see `kd_deploy.runtime.infer.infer`).

    Decoding has a thread of its own, each model has one, painting and encoding run in the caller's.
    """
    start = perf_counter()
    interrupted, meter = False, Meter()
    ended: str | None = None
    with ExitStack() as stack:
        video = stack.enter_context(open_video(source))
        if video.live:
            start = perf_counter()  # opening a camera takes a second
        sink = None if output is None else stack.enter_context(write_video(output, video.info.fps))
        results = stack.enter_context(_segmented(video, models, fit, frames))
        show = _Shower(video, sink, painter, hud, screen, meter)
        total = min(frames or video.info.frames or 0, video.info.frames or frames or 0) or None
        try:
            for shot, mask in results:
                if not show(shot, mask):
                    break
                progress(meter.frames, total)
            else:
                ended = None if meter.frames == frames else video.ended
        except KeyboardInterrupt:
            if not (video.live and meter.frames):
                raise
            interrupted = True  # how a live source is meant to end
        seconds = perf_counter() - start if sink is None else None
    seconds = seconds or perf_counter() - start  # a file is complete only now
    report = InferReport(
        source=source.name,
        output=None if output is None else str(output),
        kind="video",
        view=painter.view,
        model=models[0].describe(),
        frames=meter.frames,
        failed=video.failed,
        shorter=video.shorter,
        skipped=(),
        size=(video.info.height, video.info.width),
        seconds=seconds,
        fps=meter.frames / seconds,
        boundary="video",
        codec=None if sink is None else sink.codec,
        fit=fit,
        workers=len(models),
        live=video.live,
        dropped=video.dropped,
        corrupt=video.corrupt,
        ended=ended,
        latency_p50_ms=meter.latency_ms(50),
        latency_p99_ms=meter.latency_ms(99),
    )
    if interrupted:
        raise Interrupted(report)
    return report


class _Shower:
    """Paints a frame, writes it and shows it."""

    def __init__(
        self,
        video: Video | LiveVideo,
        sink: VideoWriter | None,
        painter: Painter,
        hud: Hud,
        screen: Screen | None,
        meter: Meter,
    ) -> None:
        self._video, self._sink, self._painter = video, sink, painter
        self._hud, self._screen, self._meter = hud, screen, meter
        self._pace = Pace(video.info.fps)

    def __call__(self, shot: Shot, mask: Image) -> bool:
        """Whether to go on."""
        picture = self._painter(shot.image, mask)
        self._meter.add(shot.decoded_at, perf_counter())
        if self._hud == "everywhere":
            caption(picture, self._words())
        if self._sink is not None:
            for _ in range(self._pace.copies(shot.decoded_at) if self._video.live else 1):
                self._sink.write(picture)
        if self._screen is None:
            return True
        if self._hud == "screen":
            caption(picture, self._words())
        return self._screen.show(picture)

    def _words(self) -> str:
        words = f"{self._meter.fps:.1f} fps  p50 {self._meter.latest_ms:.0f} ms"
        return f"{words}  dropped {self._video.dropped}" if self._video.live else words


@contextmanager
def _segmented(
    video: Video | LiveVideo, models: Sequence[Model], fit: Fit, frames: int | None
) -> Iterator[Iterator[Segmented]]:
    """Each frame with its mask, in order.

    Of a file frames wait decoded for a free model; of a live source a model takes the newest as it begins.
    """

    def worker(model: Model) -> Callable[[Shot], Segmented]:
        return lambda shot: (shot, segment(model, shot.image, fit))

    workers = [worker(model) for model in models]
    shots = islice(video.shots(), frames)
    with ExitStack() as stack:
        decoded = shots if video.live else stack.enter_context(ahead(shots))
        depth = len(models) if video.live else None
        results = stack.enter_context(in_order(workers, decoded, depth))
        stack.callback(video.stop)  # first of all: a thread may wait for a frame
        yield results
