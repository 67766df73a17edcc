"""A decoded frame and, where there is one, its label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""The label id of pixels that do not count."""


@dataclass(frozen=True)
class Frame:
    """One picture as OpenCV decodes it.

    Attributes:
        name: what a message calls it (a file's path or a scene's number).
        image: (H, W, 3) uint8, BGR.
        label: (H, W) uint8 class ids, 255 = ignored; None without ground truth.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | None = None
