"""Frames and masks as pictures that a page carries inside."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kd_deploy.data.dataset import Dataset, frames
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.metrics import Score
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.overlay import colorize, side_by_side
from kd_deploy.runtime.segment import labels_to_size, segment, to_size

Mask = NDArray[np.uint8]
Picture = NDArray[np.uint8]

WIDEST = 480
"""Pixels of a picture in a page: it stands in a row of four or five."""


@dataclass(frozen=True)
class Comparison:
    """One frame as several models see it: their masks and the percent of labelled pixels they get right.

    Attributes:
        index: the frame's in its data set.
        label: (H, W) uint8.
    """

    index: int
    frame: Frame
    label: Mask
    masks: dict[str, Mask]
    right: dict[str, float]

    def lead(self, better: str, worse: str) -> float:
        """How far, in points, the two models' shares are apart."""
        return abs(self.right[better] - self.right[worse])


def segmented(
    models: Mapping[str, Model],
    dataset: Dataset,
    *,
    scores: Mapping[str, Score] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Comparison]:
    """Every frame of `dataset` as the models see it, one by one; `scores`, by model, are updated on the way."""
    for index, frame in enumerate(frames(dataset)):
        if frame.label is None:
            raise ValueError(f"{frame.name}: has no label")
        masks = {name: segment(model, frame.image) for name, model in models.items()}
        for name, score in (scores or {}).items():
            score.update(frame.label, masks[name], frame.name)
        right = {name: _right(frame.label, mask) for name, mask in masks.items()}
        if progress:
            progress(index + 1)
        yield Comparison(index, frame, frame.label, masks, right)


def largest(
    comparisons: Iterable[Comparison], key: Callable[[Comparison], float], count: int
) -> list[Comparison]:
    """The `count` frames of the largest `key`, in the data set's order; no more than these are kept in memory."""
    return sorted(heapq.nlargest(count, comparisons, key=key), key=lambda comparison: comparison.index)


def of_each_stretch(
    comparisons: Iterable[Comparison], key: Callable[[Comparison], float], count: int, whole: int
) -> list[Comparison]:
    """Of each of `count` equal stretches of the `whole` data set the frame of the largest `key`.

    Many data sets are videos, where the largest of all would be one scene many times.
    """
    stretches = groupby(comparisons, lambda comparison: comparison.index * count // whole)
    return [max(stretch, key=key) for _, stretch in stretches]


def _right(label: Mask, mask: Mask) -> float:
    counted = label != IGNORE
    return 100.0 * float((mask == label)[counted].mean()) if counted.any() else 0.0


def panels(comparison: Comparison, palette: NDArray[np.uint8]) -> list[tuple[str, Picture]]:
    """Captions and pictures (BGR): the frame, its labels, and each model's mask."""
    shown = [("frame", comparison.frame.image), ("labels", colorize(comparison.label, palette))]
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


def figure(caption: str, picture: Picture) -> Markup:
    """An HTML figure of a frame, as JPEG."""
    height, width = _shown_size(picture)
    return _figure(caption, _uri(".jpg", to_size(picture, (height, width))))


def mask_figure(caption: str, mask: Mask, palette: NDArray[np.uint8]) -> Markup:
    """An HTML figure of a mask in its classes' colours, without loss."""
    small = labels_to_size(mask, _shown_size(mask))
    return _figure(caption, _uri(".png", colorize(small, palette)))


def row(comparison: Comparison, palette: NDArray[np.uint8]) -> Markup:
    """The frame, its labels and each model's mask as HTML figures."""
    masks = {f"{name}: {comparison.right[name]:.1f} % right": mask for name, mask in comparison.masks.items()}
    parts = [figure(Path(comparison.frame.name).stem, comparison.frame.image)]
    for caption, mask in ({"labels": comparison.label} | masks).items():
        parts.append(mask_figure(caption, mask, palette))
    return Markup("").join(parts)


def legend(
    masks: Iterable[Mask], classes: Sequence[str], palette: NDArray[np.uint8]
) -> list[tuple[str, str]]:
    """Name and CSS colour of every class that stands in the masks."""
    there = sorted({int(value) for mask in masks for value in np.unique(mask) if value < len(classes)})
    return [(classes[value], css(palette[value])) for value in there]


def css(color: NDArray[np.uint8]) -> str:
    """An RGB colour for a style sheet."""
    return f"rgb({', '.join(map(str, color.tolist()))})"


def file_uri(path: Path, media_type: str) -> str:
    """A file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _shown_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return (height, width) if width <= WIDEST else (round(height * WIDEST / width), WIDEST)


def _uri(suffix: str, picture: Picture) -> str:
    _, encoded = cv2.imencode(suffix, picture)
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _figure(caption: str, uri: str) -> Markup:
    html = '<figure><img src="{}" alt="{}" loading="lazy"><figcaption>{}</figcaption></figure>'
    return Markup(html).format(uri, caption, caption)
