"""What the references of the losses are built from: one image at a time, float64, NumPy and no torch.

Logits and features are (C,h,w), labels (H,W), valid positions (h,w).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Bools = NDArray[np.bool_]


def windows(size: int, count: int) -> list[slice]:
    """The `count` windows of an adaptive pool over `size` entries."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def pool(plane: Array, height: int, width: int) -> Array:
    """Adaptive average pool of (H,W) to (height,width)."""
    rows, columns = windows(plane.shape[0], height), windows(plane.shape[1], width)
    return np.array([[plane[row, column].mean() for column in columns] for row in rows])


def valid_positions(labels: Labels, height: int, width: int) -> Bools:
    """Where at least half of the labels are not ignored: (height,width)."""
    return pool((labels != IGNORED).astype(float), height, width) >= 0.5


def resize(planes: Array, height: int, width: int) -> Array:
    """Bilinear resize of (C,h,w), pixel centres aligned and edges repeated (align_corners=False)."""
    _, rows, columns = planes.shape
    resized = np.empty((len(planes), height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            above = planes[:, top, left] * (1 - x + left) + planes[:, top, right] * (x - left)
            below = planes[:, bottom, left] * (1 - x + left) + planes[:, bottom, right] * (x - left)
            resized[:, i, j] = above * (1 - y + top) + below * (y - top)
    return resized


def softmax(z: Array) -> Array:
    """Of one vector."""
    p = np.exp(z - z.max())
    return np.asarray(p / p.sum())


def kl(teacher: Array, student: Array) -> float:
    """KL(softmax(teacher) || softmax(student)) of two vectors, 0 where they are empty."""
    if not len(teacher):
        return 0.0
    p, q = softmax(teacher), softmax(student)
    return float(np.sum(p * np.log(p / q)))


def mean(values: list[float]) -> float:
    """0 where there is nothing to average."""
    return float(np.mean(values)) if values else 0.0


def labels_or_none(labels: Labels | None, batch: int) -> Labels:
    """No labels ignore nothing."""
    return np.zeros((batch, 1, 1), np.int64) if labels is None else labels


def images(student: Array, teacher: Array, labels: Labels | None) -> Iterator[tuple[Array, Array, Bools]]:
    """Of every image of a batch: the student, the teacher on the student's grid, and the valid positions."""
    height, width = student.shape[-2:]
    for s, t, truth in zip(student, teacher, labels_or_none(labels, len(student)), strict=True):
        yield s, resize(t, height, width), valid_positions(truth, height, width)


def tokens(feature: Array, valid: Bools, max_tokens: int) -> tuple[Array, Bools]:
    """Unit features (N,C) of the squares of side 1, 2, 4, ... that are few enough, and which are valid (N,)."""
    height, width = valid.shape
    side = 1
    while -(-height // side) * -(-width // side) > max_tokens:
        side *= 2
    units, shares = [], []
    for top in range(0, height, side):
        for left in range(0, width, side):
            square = np.s_[top : top + side, left : left + side]
            inside = feature[(slice(None), *square)][:, valid[square]]
            average = inside.mean(1) if inside.size else np.zeros(len(feature))
            units.append(average / max(np.linalg.norm(average), 1e-6))
            shares.append(valid[square].mean())
    return np.array(units), np.array(shares) >= 0.5


@contextmanager
def modules_called() -> Iterator[set[str]]:
    """The top-level names of the modules whose functions are called inside the block."""
    names: set[str] = set()

    def note(frame: Any, event: str, function: Any) -> None:
        module = frame.f_globals.get("__name__") if event == "call" else getattr(function, "__module__", None)
        names.add((module or "").split(".")[0])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield names
    finally:
        sys.setprofile(before)
