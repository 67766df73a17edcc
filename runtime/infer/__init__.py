"""Run a model over an image, a folder of images, or a video from anywhere."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import exists
from kd_deploy.runtime.images import SUFFIXES as IMAGE_SUFFIXES
from kd_deploy.runtime.infer.images import infer_folder, infer_image
from kd_deploy.runtime.infer.painter import Hud, Painter, View
from kd_deploy.runtime.infer.report import InferReport, Interrupted, Progress
from kd_deploy.runtime.infer.video import Screen, infer_video
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import Fit
from kd_deploy.runtime.video.source import VIDEO_SUFFIXES, Source, parse_source

__all__ = ["Fit", "Hud", "InferReport", "Interrupted", "Progress", "View", "infer"]


def infer(
    model: Model | Sequence[Model],
    source: Path | str | Source,
    output: Path | None,
    *,
    view: View = "overlay",
    class_names: Sequence[str],
    palette: NDArray[np.uint8],
    fit: Fit = "resize",
    hud: Hud = "screen",
    screen: Screen | None = None,
    frames: int | None = None,
    progress: Progress | None = None,
) -> InferReport:
    """Segment `source` and write what `view` shows of it to `output`, every file whole or not at all.

    An image gives an image (.png or .jpg), a folder a folder of .png files with the same names, a video an
    .mp4 or .webm file with the same frame rate and without sound. `mask` gives class ids as an 8-bit PNG; for a video,
    where the codec would blur ids, the masks in the palette's colours.

    Args:
        model: what segments; several take the frames of a video in turn, each in a thread of its own.
        source: a path, or what else `kd_deploy.runtime.video.parse_source` knows: camera, address, pipeline.
        output: None where the screen alone shows a video.
        palette: (C, 3) uint8, RGB.
        fit: how frames of another size than the model's come to it.
        hud: where frame rate, latency and drops are written onto a video's pictures.
        screen: shows each picture of a video (`kd_deploy.runtime.video.window.open_window`) until it says to stop.
        frames: end a video after so many.
        progress: told after each frame.

    Raises:
        UserError: `source` is missing, damaged or of no known kind, `output` does not fit it, or the disk
            refuses. Images of a folder that were written before the damaged one stay.
        MissingComponentError: the source needs GStreamer, which this OpenCV lacks.
        Interrupted: Ctrl-C ended a live source; the output is complete.
        KeyboardInterrupt: Ctrl-C ended anything else; of a video what is done so far is a complete file where there
            was none before.
    """
    models = [model] if isinstance(model, Model) else list(model)
    if not isinstance(source, Source):
        source = (
            Source("path", str(source), str(source)) if isinstance(source, Path) else parse_source(source)
        )
    painter = Painter(view, class_names, palette)
    report = progress or (lambda done, total: None)
    path = Path(source.target) if source.kind == "path" else None
    if path is not None:
        _check_path(path, output)
    if path is None or source.is_video:
        return infer_video(models, source, output, painter, fit, hud, screen, frames, report)
    if output is None or screen is not None or frames is not None:
        raise UserError(
            f"{path}: only a video is shown on the screen or cut to --frames; give an output alone (-o)"
        )
    if path.is_dir():
        return infer_folder(models[0], path, output, painter, fit, report)
    return infer_image(models[0], path, output, painter, fit, report)


def _check_path(path: Path, output: Path | None) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()  # may it be read?
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):  # reading it might never end
        raise UserError(f"{path}: is a device, a pipe or a socket; save what it gives to a file")
    if output is not None and exists(output) and output.samefile(path):
        raise UserError(f"{output}: is the source itself; name another output")
    if not stat.S_ISDIR(mode) and path.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
        raise UserError(
            f"{path}: is no folder, no image ({' '.join(IMAGE_SUFFIXES)}) and no video "
            f"({' '.join(VIDEO_SUFFIXES)}); convert it"
        )
