"""A network of one convolution, which says of each pixel whether red, green or blue is strongest.

tests/runtime/doctor/make_tiny.py writes tiny.onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from kd_deploy.runtime.bundle import Bundle

MODEL = Path(__file__).with_name("tiny.onnx")

SIZE = (8, 8)

Array = NDArray[np.uint8]


def tiny_bundle() -> Bundle:
    """As much of a bundle as a backend needs; nothing may be written into it."""
    from kd_deploy.runtime.bundle import Bundle  # which needs OpenCV, and the rest here does not

    manifest = {
        "input": {"size": SIZE, "batch": 1},
        "models": {"fp32": MODEL.name},
        "files": {MODEL.name: ""},
    }
    return Bundle(MODEL.parent, manifest)


def frame() -> Array:
    """(1, 8, 8, 3) uint8 BGR; the strongest of each pixel leads by 32 at least, so that no rounding matters."""
    values = np.random.default_rng(0).permuted(np.tile(np.arange(3), (*SIZE, 1)), axis=-1)
    return (values * 32 + np.arange(64).reshape(*SIZE, 1)).astype(np.uint8)[None]


def expected(frames: Array) -> Array:
    """(N, H, W) uint8: the network's masks of (N, H, W, 3) uint8, by NumPy."""
    mask: Array = frames[..., ::-1].argmax(axis=-1).astype(np.uint8)
    return mask
