"""Read pictures so that a damaged file is an error, never a grey half."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_FIRST_BYTES = re.compile(rb"\x89PNG|\xff\xd8|BM|RIFF....WEBP|II[*+]\0|MM\0[*+]|P[1-6]|GIF8", re.DOTALL)


def is_image(path: Path) -> bool:
    """Whether a file begins as a picture does (cv2.haveImageReader finds only ASCII names on Windows)."""
    try:
        with path.open("rb") as file:
            return _FIRST_BYTES.match(file.read(16)) is not None
    except OSError:
        return False


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8, BGR.

    Raises:
        UserError: the file is missing, truncated or no picture.
    """
    return _read(Path(path), cv2.IMREAD_COLOR)


def read_label(path: Path) -> NDArray[np.uint8]:
    """A label map as (H, W) uint8, the ids as they stand in the file.

    No palette PNG: OpenCV gives its colours, not its indices.

    Raises:
        UserError: the file is missing, truncated, no picture, or not single-channel 8-bit.
    """
    label = _read(path, cv2.IMREAD_UNCHANGED)
    if label.ndim != 2 or label.dtype != np.uint8:
        channels = 1 if label.ndim == 2 else label.shape[2]
        raise UserError(
            f"{path}: is no label map ({channels} channels of {label.dtype}); it must be an 8-bit "
            "single-channel PNG of class ids (of a palette PNG save the indices as grey values)"
        )
    return label


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture, (H, W) or (H, W, 3) BGR, in the format of the suffix, atomically.

    Raises:
        UserError: the format does not hold a picture so large, the folder cannot be written, or the disk is full.
    """
    try:
        done, encoded = cv2.imencode(path.suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise UserError(
            f"{path}: OpenCV cannot write {image.shape[1]}x{image.shape[0]} pixels in this format; name a .png file"
        )
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _read(path: Path, mode: int) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        ) from error
    if _truncated(data):
        raise UserError(f"{path}: is truncated; copy or download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    except (
        cv2.error
    ) as error:  # a header of more pixels than OpenCV reads: 2**30, or OPENCV_IO_MAX_IMAGE_PIXELS
        raise UserError(f"{path}: cannot be decoded ({error.err}); replace it or take it out") from error
    if image is None:
        raise UserError(f"{path}: cannot be decoded as a picture; replace it or take it out")
    return image  # type: ignore[no-any-return]


def _truncated(data: bytes) -> bool:
    """Whether the end mark is missing: OpenCV decodes what is there of a cut JPEG and says nothing."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[_scan(data) :]  # inside a scan every FF is followed by 00
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:]
    return False


def _scan(jpeg: bytes) -> int:
    """Where a JPEG's picture data begin, behind its headers (a thumbnail in them has an end mark of its own)."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return at
