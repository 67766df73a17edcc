"""Frames and masks as pictures that a page carries inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.dataset import Dataset, frames
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.overlay import colorize, side_by_side
from kd_deploy.runtime.segment import segment

Mask = NDArray[np.uint8]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Comparison:
    """One frame as several models see it: their masks and the share of labelled pixels they get right."""

    frame: Frame
    masks: dict[str, Mask]
    right: dict[str, float]


def compare_frames(
    models: Mapping[str, Model], dataset: Dataset, *, better: str, worse: str, count: int
) -> list[Comparison]:
    """The frames on which the models `better` and `worse` differ most, either way, in the data set's order."""
    found = []
    for index, frame in enumerate(frames(dataset)):
        masks = {name: segment(model, frame.image) for name, model in models.items()}
        right = {name: _right(frame, mask) for name, mask in masks.items()}
        found.append((abs(right[better] - right[worse]), index, Comparison(frame, masks, right)))
    found.sort(key=lambda entry: -entry[0])
    return [comparison for _, _, comparison in sorted(found[:count], key=lambda entry: entry[1])]


def _right(frame: Frame, mask: Mask) -> float:
    if frame.label is None:
        raise ValueError(f"{frame.name}: has no label")
    counted = frame.label != IGNORE
    return 100.0 * float((mask == frame.label)[counted].mean()) if counted.any() else 0.0


def panels(comparison: Comparison, palette: NDArray[np.uint8]) -> list[tuple[str, Picture]]:
    """Captions and pictures (BGR): the frame, its labels, and each model's mask."""
    frame = comparison.frame
    if frame.label is None:
        raise ValueError(f"{frame.name}: has no label")
    shown = [("frame", frame.image), ("labels", colorize(frame.label, palette))]
    for name, mask in comparison.masks.items():
        shown.append((f"{name}: {comparison.right[name]:.1f} % right", colorize(mask, palette)))
    return shown


def write_sheet(path: Path, rows: list[list[tuple[str, Picture]]]) -> None:
    """All panels as one PNG, a row for each frame, at twice their size so that captions can be read."""
    drawn = []
    for row in rows:
        captions, pictures = zip(*row, strict=True)
        enlarged = [cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) for p in pictures]
        drawn.append(side_by_side(enlarged, captions))
    write_image(path, np.concatenate(drawn))


def picture_uri(picture: Picture) -> str:
    """A BGR picture as a PNG data URI."""
    _, encoded = cv2.imencode(".png", picture)
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def file_uri(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
