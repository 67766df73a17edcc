"""The confusion matrix of a split: whole where it can be read, and the largest confusions in any case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kd_deploy.runtime.metrics import Result

READABLE = 24
"""Classes that a matrix shows; of more, those with the most wrong pixels."""
LISTED = 10


@dataclass(frozen=True)
class Confusion:
    """Shares in percent of the pixels of the class that is true.

    Attributes:
        names: the classes shown.
        rows: for each of `names` as the truth, the percent taken for each of `names`, and last, where not all classes
            are shown, for all others; None where it has no pixel.
        largest: (truth, taken for, percent of the truth's pixels, percent of all wrong pixels), largest first.
        classes: how many there are in all.
    """

    names: list[str]
    rows: list[list[float | None]]
    largest: list[tuple[str, str, float, float]]
    classes: int

    @property
    def rows_by_name(self) -> list[tuple[str, list[float | None]]]:
        return list(zip(self.names, self.rows, strict=True))


def confusion(result: Result) -> Confusion:
    """What the counts of a whole split say of each pair of classes."""
    counts, names = result.confusion, list(result.classes)
    pixels = counts.sum(axis=1)
    wrong = counts - np.diag(np.diagonal(counts))
    involved = wrong.sum(axis=0) + wrong.sum(axis=1)
    shown = np.sort(np.argsort(-involved, kind="stable")[:READABLE])
    columns = [counts[:, p] for p in shown]
    if len(shown) < len(names):
        columns.append(pixels - counts[:, shown].sum(axis=1))
    rows = [[_percent(column[t], pixels[t]) for column in columns] for t in shown]
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    largest = [
        (names[t], names[p], 100.0 * wrong[t, p] / pixels[t], 100.0 * wrong[t, p] / wrong.sum())
        for t, p in (divmod(int(pair), len(names)) for pair in pairs)
        if wrong[t, p]
    ]
    return Confusion([names[i] for i in shown], rows, largest, len(names))


def _percent(part: np.int64, whole: np.int64) -> float | None:
    return 100.0 * float(part) / float(whole) if whole else None
