"""An image, or a folder of images, through a model."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import exists
from kd_deploy.runtime.images import SUFFIXES, is_image, read_image, write_image
from kd_deploy.runtime.infer.painter import Painter, View
from kd_deploy.runtime.infer.report import InferReport, Progress
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import Fit, segment
from kd_deploy.runtime.streams import stderr_words
from kd_deploy.runtime.video.opencv import quiet_opencv
from kd_deploy.runtime.video.source import VIDEO_SUFFIXES

WRITTEN = (".png", ".jpg", ".jpeg")

_DAMAGE = re.compile(r"Corrupt JPEG data: (?!\d+ extraneous).*|Premature end of JPEG file")
"""What libjpeg prints where it fills in what is lost; extraneous bytes, which some cameras leave, lose nothing."""


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

    Names that clash, and files that do not begin as a picture does, fail here: before anything is written.
    """
    if (exists(output) and output.is_file()) or output.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES):
        raise UserError(f"{output}: a folder of images gives a folder; name a folder")
    try:
        files = sorted(file for file in source.iterdir() if file.is_file())
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); check its rights") from error
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(f"{source}: holds no images ({' '.join(SUFFIXES)}); check the path")
    targets: dict[Path, Path] = {}
    for image in images:
        target = output / f"{image.stem}.png"
        if target in targets:
            raise UserError(f"{image}: {targets[target].name} would be written to {target} too; rename one")
        if not is_image(image):
            _read(image)  # which says why it is none
        targets[target] = image
    skipped = tuple(file.name for file in files if file not in images)
    return [(image, target) for target, image in targets.items()], skipped


def _read(file: Path) -> NDArray[np.uint8]:
    """A picture, (H, W, 3) uint8 BGR, that its decoder did not have to mend."""
    with quiet_opencv(), stderr_words() as words:
        image = read_image(file)
    if damage := _DAMAGE.search("".join(words)):
        raise UserError(f"{file}: is damaged ({damage[0]}); copy or download it again")
    return image


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
        image = _read(file)
        start = time.perf_counter()
        mask = segment(model, image, fit)
        seconds += time.perf_counter() - start
        sizes.add((image.shape[0], image.shape[1]))
        with quiet_opencv():
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
