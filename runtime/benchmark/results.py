"""A bundle's models on its golden frames, and what benchmark.json says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from kd_deploy.runtime.benchmark.memory import memory
from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.benchmark.timing import Boundary, Timing
from kd_deploy.runtime.benchmark.turns import Progress, benchmark_all
from kd_deploy.runtime.benchmark.video import benchmark_video
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import Image, to_size


def benchmark_bundle(
    bundle: Bundle,
    models: Sequence[Model],
    *,
    boundaries: Sequence[Boundary] = ("session", "frame"),
    batch: int = 1,
    seconds: float = 5.0,
    frame_size: tuple[int, int] | None = None,
    video: Path | None = None,
    facts: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time open models of a bundle on its golden frames; the result, `to_json`'s, is kept in its benchmark.json.

    Args:
        models: open models; the others are compared with the first.
        frame_size: height and width that the golden frames are brought to, untimed, for the boundary `frame`.
        video: the file that the boundary `video` runs over.
        facts: for each model what its entries say beside the timing (`Opened.to_json`).

    Raises:
        UserError: as `benchmark_all`, `benchmark_video` and `golden_frames`, or the boundary `video` has no file.
    """
    load_before()
    if "video" in boundaries and video is None:
        raise UserError("--boundary video: needs a file; name one with --video FILE")
    timings: list[Timing] = []
    for number, boundary in enumerate(boundaries):
        tell = partial(_part, progress, number, len(boundaries))
        if boundary == "video":
            assert video is not None
            timings += benchmark_video(bundle, models, video, seconds=seconds, progress=tell)
        else:
            frames = golden_frames(bundle, frame_size if boundary == "frame" else None)
            timings += benchmark_all(
                models, boundary=boundary, frames=frames, batch=batch, seconds=seconds, progress=tell
            )
    result = to_json(timings, list(facts) * len(boundaries))
    bundle.keep("benchmark.json", result)
    return result


def golden_frames(bundle: Bundle, size: tuple[int, int] | None = None) -> list[Image]:
    """The golden frames, (H, W, 3) uint8 BGR, at `size` (height, width); None: as they are, at the models' size.

    Raises:
        UserError: the memory does not hold them.
    """
    frames = [frame for _, frame, _ in bundle.golden()]
    if size is None:
        return frames
    try:
        return [to_size(frame, size) for frame in frames]
    except (MemoryError, cv2.error) as error:
        raise UserError(
            f"--frame-size {size[0]}x{size[1]}: the memory does not hold {len(frames)} golden frames of that size; "
            "ask for a smaller one"
        ) from error


def to_json(timings: Sequence[Timing], facts: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content of benchmark.json: {"results": [...], "environment": {...}}.

    Each entry is `Timing.to_json`'s with `ratio`, its time a frame over that of the first of its boundary and
    `frame_size`, `memory` and what `facts`, one for each timing, say.
    """
    first: dict[tuple[str, str | None], float] = {}
    entries = []
    for number, timing in enumerate(timings):
        more = dict(facts[number]) if facts else {}
        stages = more.pop("memory", {}) | {"ran": asdict(memory(timing.model.backend))}
        base = first.setdefault((timing.boundary, timing.frame_size), timing.fps)
        entries.append({**timing.to_json(), **more, "ratio": base / timing.fps, "memory": stages})
    return {"results": entries, "environment": environment()}


def _part(progress: Progress | None, number: int, count: int, share: float) -> None:
    """Tell the share of all boundaries that are done."""
    if progress:
        progress((number + share) / count)
