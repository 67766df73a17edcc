"""A bundle's models on its golden frames, and what benchmark.json says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from kd_deploy.runtime.benchmark.memory import memory
from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.benchmark.timing import Boundary, Timing
from kd_deploy.runtime.benchmark.turns import Progress, benchmark_all
from kd_deploy.runtime.benchmark.video import benchmark_video
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Model


def benchmark_bundle(
    bundle: Bundle,
    models: Sequence[Model],
    *,
    boundaries: Sequence[Boundary] = ("session", "frame"),
    batch: int = 1,
    seconds: float = 5.0,
    video: Path | None = None,
    facts: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time open models of a bundle on its golden frames; the result, `to_json`'s, is kept in its benchmark.json.

    Args:
        models: open models; the others are compared with the first.
        video: the file that the boundary `video` runs over.
        facts: for each model what its entries say beside the timing (`Opened.to_json`).

    Raises:
        UserError: as `benchmark_all` and `benchmark_video`, or the boundary `video` has no file.
    """
    load_before()
    if "video" in boundaries and video is None:
        raise UserError("--boundary video: needs a file; name one with --video FILE")
    frames = [frame for _, frame, _ in bundle.golden()]
    timings: list[Timing] = []
    for number, boundary in enumerate(boundaries):
        tell = partial(_part, progress, number, len(boundaries))
        if boundary == "video":
            assert video is not None
            timings += benchmark_video(bundle, models, video, seconds=seconds, progress=tell)
        else:
            timings += benchmark_all(
                models, boundary=boundary, frames=frames, batch=batch, seconds=seconds, progress=tell
            )
    result = to_json(timings, list(facts) * len(boundaries))
    bundle.keep("benchmark.json", result)
    return result


def to_json(timings: Sequence[Timing], facts: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content of benchmark.json: {"results": [...], "environment": {...}}.

    Each entry is `Timing.to_json`'s with `ratio`, its time a frame over that of the first of its boundary, `memory` and
    what `facts`, one for each timing, say.
    """
    first: dict[str, float] = {}
    entries = []
    for number, timing in enumerate(timings):
        more = dict(facts[number]) if facts else {}
        stages = more.pop("memory", {}) | {"ran": asdict(memory(timing.model.backend))}
        base = first.setdefault(timing.boundary, timing.fps)
        entries.append({**timing.to_json(), **more, "ratio": base / timing.fps, "memory": stages})
    return {"results": entries, "environment": environment()}


def _part(progress: Progress | None, number: int, count: int, share: float) -> None:
    """Tell the share of all boundaries that are done."""
    if progress:
        progress((number + share) / count)
