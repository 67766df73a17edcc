"""The boundary `video`: a file in, a file out, through the same function as `kd-deploy infer`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.benchmark.timing import Timing
from kd_deploy.runtime.benchmark.turns import (
    MIN_N,
    WARMUP_SECONDS,
    Calls,
    Progress,
    Stopwatch,
    calls_of,
    check_frames,
    size_of,
    take_turns,
)
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.infer import infer
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.video.source import VIDEO_SUFFIXES


def benchmark_video(
    bundle: Bundle,
    models: Sequence[Model],
    video: Path,
    *,
    seconds: float = 5.0,
    min_n: int = MIN_N,
    warmup_seconds: float = WARMUP_SECONDS,
    progress: Progress | None = None,
) -> list[Timing]:
    """Time whole passes over a video: decode, segment, draw the overlay, encode, all overlapping.

    A sample is the time from one written frame to the next, the first one's from the opening of the file. Frames a
    second are of the whole passes. What is written goes away again.

    Args:
        bundle: of the models.
        models: open models, which take turns of one pass.
        video: a file that `kd-deploy infer` reads.
        seconds: time spent on each model, at least.
        min_n: frames of each model, at least.
        warmup_seconds: time spent on each model first, on the golden frames.
        progress: told how far it is.

    Raises:
        UserError: as `infer`, or `video` is none.
    """
    if video.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"{video}: is no video file ({' '.join(VIDEO_SUFFIXES)}); name one")
    load = load_before()
    frames = [frame for _, frame, _ in bundle.golden()]
    check_frames(frames)
    with TemporaryDirectory(prefix="kd-deploy-") as folder:
        watches = [Passes(model, bundle, video, Path(folder) / "out.mp4") for model in models]
        power = take_turns(watches, seconds, min_n, warmup_seconds, progress)
    return [
        Timing(
            watched.model.describe(),
            "video",
            1,
            "x".join(map(str, size_of(watched.model, frames))),
            watched.samples_ms,
            load,
            whole_seconds=watched.seconds,
            power=power.during(watched.turns),
        )
        for watched in watches
    ]


class Passes(Stopwatch):
    """Whole passes over one file; `seconds` is the time of all of them, files opened and closed."""

    def __init__(self, model: Model, bundle: Bundle, video: Path, output: Path) -> None:
        super().__init__(model)
        self.seconds = 0.0
        self._bundle, self._video, self._output = bundle, video, output

    def warm_up(self, seconds: float) -> None:
        frames = [frame for _, frame, _ in self._bundle.golden()]
        Calls(self.model, calls_of(self.model, "frame", frames, 1)).warm_up(seconds)

    def run(self, seconds: float) -> None:
        begin = time.perf_counter_ns()
        while True:
            self._pass()
            if time.perf_counter_ns() - begin >= seconds * 1e9:
                return

    def _pass(self) -> None:
        start = before = time.perf_counter_ns()

        def written(done: int, total: int | None) -> None:
            nonlocal before
            now = time.perf_counter_ns()
            self.samples_ms.append((now - before) / 1e6)
            before = now

        infer(
            self.model,
            self._video,
            self._output,
            class_names=self._bundle.classes,
            palette=self._bundle.palette,
            progress=written,
        )
        self.seconds += (time.perf_counter_ns() - start) / 1e9
