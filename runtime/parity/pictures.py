"""The frames that agree least, as pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kd_deploy.runtime.images import SUFFIXES, write_image
from kd_deploy.runtime.overlay import Palette, colorize, side_by_side
from kd_deploy.runtime.parity.report import Pair, ParityReport
from kd_deploy.runtime.segment import Image, labels_to_size, to_size

_WIDEST = 640  # pixels of each picture
_SEEN = np.ones((3, 3), np.uint8)


def draw_worst(report: ParityReport, palette: Palette) -> dict[str, Image]:
    """A picture for each of the report's worst frames, by name: image, both masks, and where they differ.

    Args:
        report: of `compare` or `compare_golden`.
        palette: (C, 3) uint8, RGB.

    Returns:
        BGR pictures; disagreeing pixels are red on the darkened grey frame, thickened so that one is seen.
    """
    return {pair.frame.name: _draw(pair, palette) for pair in report.worst}


def write_worst(report: ParityReport, palette: Palette, folder: Path) -> None:
    """Write a picture of each of the report's worst frames to `folder`: `1-NAME.png` is the worst."""
    for rank, pair in enumerate(report.worst, start=1):
        name = Path(pair.frame.name)
        known = name.suffix.lower() in SUFFIXES  # a.b.1 has no suffix of a file
        write_image(folder / f"{rank}-{name.stem if known else name.name}.png", _draw(pair, palette))


def _draw(pair: Pair, palette: Palette) -> Image:
    grey = cv2.cvtColor(pair.frame.image, cv2.COLOR_BGR2GRAY) // 3
    candidate = labels_to_size(pair.candidate, pair.reference.shape)
    differs = (pair.reference != candidate).view(np.uint8)
    if pair.candidate.shape != pair.reference.shape:
        differs[:] = 1  # as it is judged
    difference = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    difference[cv2.dilate(differs, _SEEN) > 0] = (48, 48, 255)
    pictures = [
        pair.frame.image,
        colorize(pair.reference, palette),
        colorize(candidate, palette),
        difference,
    ]
    height, width = grey.shape
    if width > _WIDEST:
        pictures = [to_size(picture, (round(height * _WIDEST / width), _WIDEST)) for picture in pictures]
    return side_by_side(
        pictures, ["image", "reference", "candidate", f"difference: {100 - pair.agreement:.3f} %"]
    )
