"""Label maps: the ids in a file, the classes they stand for, and colours for classes that have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE

Label = NDArray[np.uint8]
"""(H, W) class ids, 255 = ignored."""

_UNKNOWN = -1


class LabelIds:
    """The ids that may stand in a data set's label maps, and the class of each.

    Args:
        classes: the id in the file -> the class id.
        ignored: ids of pixels that do not count.
        legend: what a message says of both, such as "CamVid has 0 to 10, and 11 or 255 for void".
    """

    def __init__(self, classes: Mapping[int, int], ignored: Iterable[int], legend: str) -> None:
        self.legend = legend
        self._table: NDArray[np.int16] = np.full(1 << 16, _UNKNOWN, np.int16)
        self._table[list(ignored)] = IGNORE
        self._table[list(classes)] = list(classes.values())

    def to_classes(self, ids: NDArray[Any]) -> tuple[Label, dict[int, int]]:
        """The class ids of a label map's ids (H, W) uint8 or uint16, and the pixels of each id that is unknown.

        Unknown ids are ignored in the former.
        """
        labels = self._table[ids]
        known = labels != _UNKNOWN
        if known.all():
            return labels.astype(np.uint8), {}
        values, pixels = np.unique(ids[~known], return_counts=True)
        unknown = dict(zip(values.tolist(), pixels.tolist(), strict=True))
        return np.where(known, labels, IGNORE).astype(np.uint8), unknown


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The indices (H, W) uint8 of a palette PNG, or the values of a grey one: OpenCV would give the colours.

    Raises:
        UserError: the file is missing or damaged, or has more than one channel.
    """
    try:
        file = BytesIO(path.read_bytes())
        Image.open(file).verify()  # to the last chunk: decoding alone may be content with less
        with Image.open(file) as picture:
            indices = np.array(picture)
            mode = picture.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # SyntaxError: a broken PNG chunk
        raise UserError(f"{path}: cannot be decoded ({error}); copy or download it again") from error
    if mode not in ("P", "L"):
        raise UserError(
            f"{path}: is no label map ({mode} picture); it must be a PNG of class ids, with or without a palette"
        )
    return indices


def pascal_palette(count: int) -> NDArray[np.uint8]:
    """The first `count` <= 256 colours of PASCAL VOC's map, (count, 3) uint8 RGB, all distinct.

    Bit k of a colour's red, green and blue, from the highest on, is bit 3k, 3k + 1 and 3k + 2 of its number.
    """
    number, k = np.arange(count)[:, None, None], np.arange(8)
    bits = number >> (3 * k + np.arange(3)[:, None]) & 1  # (count, 3, 8)
    colors: NDArray[np.uint8] = (bits << (7 - k)).sum(axis=2).astype(np.uint8)
    return colors
