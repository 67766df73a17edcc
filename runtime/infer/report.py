"""What inference over a source did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kd_deploy.runtime.infer.painter import View
from kd_deploy.runtime.model import Description
from kd_deploy.runtime.segment import Fit

Progress = Callable[[int, "int | None"], None]
"""Called after each frame with the frames done and the frames in all (None: the source does not say)."""


@dataclass(frozen=True)
class InferReport:
    """What was done, and how fast.

    Attributes:
        source: what was read, without a password.
        output: what was written; None: a video was shown only.
        kind: of both.
        view: what the output shows.
        model: what ran, and where.
        frames: images or video frames segmented.
        failed: frames that a video's container holds and that could not be decoded.
        shorter: frames by which a video ends before the length of a container that does not count them.
        skipped: names of the files in a folder that are no images.
        size: height and width in pixels of the source's frames; None where a folder mixes sizes.
        seconds: inside the boundary, for all frames.
        fps: frames / seconds.
        boundary: `video`, source in to file or screen out; or for images `frame`, decoded frame in to mask out.
        codec: FourCC of the video written; None for images and without an output.
        fit: how frames came to the model's size.
        workers: models that ran at the same time.
        live: whether the source did not wait, so that the newest frame was taken each time.
        dropped: frames of a live source that were not taken.
        corrupt: of `failed`, those that were skipped in the middle; of a live source, how often reading failed and
            went on.
        ended: why a live source ended by itself; None where it did not.
        latency_p50_ms: median time of a video's frame from decoded to painted, waiting included, within 1 %.
        latency_p99_ms: likewise.
    """

    source: str
    output: str | None
    kind: Literal["image", "folder", "video"]
    view: View
    model: Description
    frames: int
    failed: int
    skipped: tuple[str, ...]
    size: tuple[int, int] | None
    seconds: float
    fps: float
    boundary: Literal["frame", "video"]
    codec: str | None
    fit: Fit = "resize"
    workers: int = 1
    live: bool = False
    dropped: int = 0
    corrupt: int = 0
    shorter: int = 0
    ended: str | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types, keys as the attributes."""
        return asdict(self)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a live source, as it is meant to; the output is complete.

    Attributes:
        report: what was done until then.
    """

    def __init__(self, report: InferReport) -> None:
        super().__init__("interrupted")
        self.report = report
