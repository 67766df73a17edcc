"""Run a model over an image, a folder of images or a video file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.images import SUFFIXES as IMAGE_SUFFIXES
from kd_deploy.runtime.images import is_image, read_image, write_image
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.overlay import Overlay, colorize, side_by_side
from kd_deploy.runtime.segment import segment
from kd_deploy.runtime.video import ahead, quiet_opencv, read_video, write_video

Image = NDArray[np.uint8]
View = Literal["overlay", "mask", "side-by-side"]
Progress = Callable[[int, "int | None"], None]
"""Called after each frame with the frames done and the frames in all (None: the container does not say)."""

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts")
WRITTEN_IMAGES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class InferReport:
    """What was done, and how fast.

    Attributes:
        source: what was read.
        output: what was written.
        kind: of both.
        view: what the output shows.
        model: what ran, and where.
        frames: images or video frames written.
        failed: frames that a video's container announces and that could not be decoded.
        skipped: names of the files in a folder that are no images.
        size: height and width in pixels of the source's frames; None where a folder mixes sizes.
        seconds: inside the boundary, for all frames.
        fps: frames / seconds.
        boundary: `video`, file in to file out; or for images `frame`, decoded frame in to mask out.
        codec: FourCC of the video written; None for images.
    """

    source: str
    output: str
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

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types, keys as the attributes."""
        return asdict(self)


def infer(
    model: Model,
    source: Path,
    output: Path,
    *,
    view: View = "overlay",
    class_names: Sequence[str],
    palette: NDArray[np.uint8],
    progress: Progress | None = None,
) -> InferReport:
    """Segment `source` and write what `view` shows of it to `output`, every file whole or not at all.

    An image gives an image (.png or .jpg), a folder a folder of .png files with the same names, a video an
    .mp4 or .webm file with the same frame rate and without sound. `mask` gives class ids as an 8-bit PNG; for a video,
    where the codec would blur ids, the masks in the palette's colours.

    Args:
        palette: (C, 3) uint8, RGB.

    Raises:
        UserError: `source` is missing, damaged or of no known kind, `output` does not fit it, or the disk
            refuses. Images of a folder that were written before the damaged one stay.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; check the path")
    if output.exists() and output.samefile(source):
        raise UserError(f"{output}: is the source itself; name another output")
    painter = _Painter(view, class_names, palette)
    report = progress or (lambda done, total: None)
    if source.is_dir():
        pairs, skipped = _folder_pairs(source, output)
        return _infer_images(model, source, output, "folder", pairs, skipped, painter, report)
    if source.suffix.lower() in IMAGE_SUFFIXES:
        _check_image_output(output, view)
        return _infer_images(model, source, output, "image", [(source, output)], (), painter, report)
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return _infer_video(model, source, output, painter, report)
    raise UserError(
        f"{source}: is no folder, no image ({' '.join(IMAGE_SUFFIXES)}) and no video "
        f"({' '.join(VIDEO_SUFFIXES)}); convert it"
    )


class _Painter:
    """Draws the view; the overlay with its legend is made once for a frame size."""

    def __init__(self, view: View, class_names: Sequence[str], palette: NDArray[np.uint8]) -> None:
        self.view = view
        self._class_names = class_names
        self._palette = palette
        self._overlay: Overlay | None = None
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: Image, mask: Image) -> Image:
        """A picture, uint8 BGR, of one size for all frames of one size."""
        if self.view == "mask":
            return colorize(mask, self._palette)
        size = (frame.shape[0], frame.shape[1])
        if self._overlay is None or self._size != size:
            self._overlay, self._size = Overlay(self._class_names, self._palette, size), size
        drawn = self._overlay.draw(frame, mask)
        if self.view == "overlay":
            return drawn
        strip = drawn.shape[0] - frame.shape[0]  # of the legend, where it stands below the frame
        return side_by_side([cv2.copyMakeBorder(frame, 0, strip, 0, 0, cv2.BORDER_CONSTANT), drawn])


def _check_image_output(output: Path, view: View) -> None:
    suffixes = (".png",) if view == "mask" else WRITTEN_IMAGES
    if output.suffix.lower() not in suffixes:
        what = "class ids are" if view == "mask" else "an image is"
        raise UserError(f"{output}: {what} written as {' or '.join(suffixes)}; name such a file")


def _folder_pairs(source: Path, output: Path) -> tuple[list[tuple[Path, Path]], tuple[str, ...]]:
    """Each image with the file it gives, and the names of the other files.

    Names that clash, and files whose first bytes are no picture's, fail here: before anything is written.
    """
    if output.is_file() or output.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
        raise UserError(f"{output}: a folder of images gives a folder; name a folder")
    files = sorted(file for file in source.iterdir() if file.is_file())
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise UserError(f"{source}: holds no images ({' '.join(IMAGE_SUFFIXES)}); check the path")
    targets: dict[Path, Path] = {}
    for image in images:
        target = output / f"{image.stem}.png"
        if target in targets:
            raise UserError(f"{image}: {targets[target].name} would be written to {target} too; rename one")
        if not is_image(image):
            raise UserError(f"{image}: cannot be decoded as a picture; replace it or take it out")
        targets[target] = image
    skipped = tuple(file.name for file in files if file not in images)
    return [(image, target) for target, image in targets.items()], skipped


def _infer_images(
    model: Model,
    source: Path,
    output: Path,
    kind: Literal["image", "folder"],
    pairs: Sequence[tuple[Path, Path]],
    skipped: tuple[str, ...],
    painter: _Painter,
    progress: Progress,
) -> InferReport:
    """Segment the first file of each pair into the second."""
    seconds = 0.0
    sizes: set[tuple[int, int]] = set()
    for done, (file, target) in enumerate(pairs, 1):
        with quiet_opencv():
            image = read_image(file)
        start = time.perf_counter()
        mask = segment(model, image)
        seconds += time.perf_counter() - start
        sizes.add((image.shape[0], image.shape[1]))
        write_image(target, mask if painter.view == "mask" else painter(image, mask))
        progress(done, len(pairs))
    return InferReport(
        source=str(source),
        output=str(output),
        kind=kind,
        view=painter.view,
        model=model.describe(),
        frames=len(pairs),
        failed=0,
        skipped=skipped,
        size=sizes.pop() if len(sizes) == 1 else None,
        seconds=seconds,
        fps=len(pairs) / seconds,
        boundary="frame",
        codec=None,
    )


def _infer_video(
    model: Model, source: Path, output: Path, painter: _Painter, progress: Progress
) -> InferReport:
    """Decode, segment, and draw and encode, each in its own thread (the last in the caller's)."""
    start = time.perf_counter()

    def segmented(frames: Iterator[Image]) -> Iterator[tuple[Image, Image]]:
        for frame in frames:
            yield frame, segment(model, frame)

    with (
        read_video(source) as video,
        write_video(output, video.info.fps) as sink,
        ahead(video) as frames,
        ahead(segmented(frames)) as pairs,
    ):
        for frame, mask in pairs:
            sink.write(painter(frame, mask))
            progress(sink.frames, video.info.frames)
    seconds = time.perf_counter() - start
    return InferReport(
        source=str(source),
        output=str(output),
        kind="video",
        view=painter.view,
        model=model.describe(),
        frames=sink.frames,
        failed=video.failed,
        skipped=(),
        size=(video.info.height, video.info.width),
        seconds=seconds,
        fps=sink.frames / seconds,
        boundary="video",
        codec=sink.codec,
    )
