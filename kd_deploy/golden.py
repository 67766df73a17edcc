"""Which frames travel with a bundle: few, and together they show every class and many boundaries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.dataset import Dataset
from kd_deploy.runtime.frames import IGNORE, Frame

CANDIDATES = 64
"""Frames of the data set that are looked at, evenly spread over it."""


def choose_golden(dataset: Dataset, count: int) -> list[Frame]:
    """At most `count` frames, in the data set's order.

    A frame is worth what it adds to each class's contour pixels (those whose right or lower neighbour has another
    class), counted by their square root: a bug in resampling moves contours alone, and a class that was not there
    yet is worth more than more of a common one. Greedy choice is within 1 - 1/e of the best for such sums (Nemhauser,
    Wolsey, Fisher 1978, doi:10.1007/BF01588971).
    """
    spread = np.linspace(0, len(dataset) - 1, min(len(dataset), max(CANDIDATES, count)))
    indices = sorted(set(spread.round().astype(int).tolist()))
    contours = {index: _contours(dataset[index], len(dataset.classes)) for index in indices}
    chosen: list[int] = []
    seen = np.zeros(len(dataset.classes))
    for _ in range(min(count, len(indices))):
        rest = [index for index in indices if index not in chosen]
        chosen.append(max(rest, key=lambda index: float(np.sqrt(seen + contours[index]).sum())))
        seen += contours[chosen[-1]]
    return [dataset[index] for index in sorted(chosen)]


def _contours(frame: Frame, classes: int) -> NDArray[np.float64]:
    """(classes,) share of the frame's pixels on the contour of each class; zeros without a label map."""
    if frame.label is None:
        return np.zeros(classes)
    label, here = frame.label, np.zeros(frame.label.shape, bool)
    for own, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        here[own] |= (label[own] != label[other]) & (label[own] != IGNORE) & (label[other] != IGNORE)
    return np.bincount(label[here], minlength=classes) / label.size
