"""An image, or a folder of images, through a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.images import SUFFIXES, is_image, read_image, write_image
from kd_deploy.runtime.infer.painter import Painter, View
from kd_deploy.runtime.infer.report import InferReport, Progress
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import Fit, segment
from kd_deploy.runtime.video.opencv import quiet_opencv
from kd_deploy.runtime.video.source import VIDEO_SUFFIXES

WRITTEN = (".png", ".jpg", ".jpeg")


def infer_image(
    model: Model, source: Path, output: Path, painter: Painter, fit: Fit, progress: Progress
) -> InferReport:
    """Segment one image into another."""
    _check_image_output(output, painter.view)
    return _infer(model, source, output, "image", [(source, output)], (), painter, fit, progress)


def infer_folder(
    model: Model, source: Path, output: Path, painter: Painter, fit: Fit, progress: Progress
) -> InferReport:
    """Segment the images of a folder into .png files of another."""
    pairs, skipped = _folder_pairs(source, output)
    return _infer(model, source, output, "folder", pairs, skipped, painter, fit, progress)


def _check_image_output(output: Path, view: View) -> None:
    suffixes = (".png",) if view == "mask" else WRITTEN
    if output.suffix.lower() not in suffixes:
        what = "class ids are" if view == "mask" else "an image is"
        raise UserError(f"{output}: {what} written as {' or '.join(suffixes)}; name such a file")


def _folder_pairs(source: Path, output: Path) -> tuple[list[tuple[Path, Path]], tuple[str, ...]]:
    """Each image with the file it gives, and the names of the other files.

    Names that clash, and files whose first bytes are no picture's, fail here: before anything is written.
    """
    if output.is_file() or output.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES):
        raise UserError(f"{output}: a folder of images gives a folder; name a folder")
    files = sorted(file for file in source.iterdir() if file.is_file())
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(f"{source}: holds no images ({' '.join(SUFFIXES)}); check the path")
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


def _infer(
    model: Model,
    source: Path,
    output: Path,
    kind: Literal["image", "folder"],
    pairs: Sequence[tuple[Path, Path]],
    skipped: tuple[str, ...],
    painter: Painter,
    fit: Fit,
    progress: Progress,
) -> InferReport:
    """Segment the first file of each pair into the second."""
    seconds = 0.0
    sizes: set[tuple[int, int]] = set()
    for done, (file, target) in enumerate(pairs, 1):
        with quiet_opencv():
            image = read_image(file)
        start = time.perf_counter()
        mask = segment(model, image, fit)
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
        fit=fit,
    )
