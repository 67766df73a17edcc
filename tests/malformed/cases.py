"""What the cases share: how one is refused, what lies in a folder, and pictures as bytes."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import draw

Array = NDArray[Any]

STREET = draw(0, (40, 60))[0]
"""The picture of most cases: 60 x 40, BGR."""


@dataclass(frozen=True)
class Refusal:
    """An input that is refused.

    Attributes:
        make: puts it into the working directory.
        arguments: of `kd-deploy infer BUNDLE`.
        line: what the one line begins with, behind `error: `, as a regular expression.
        code: the exit code.
    """

    make: Callable[[Path], object]
    arguments: tuple[str, ...]
    line: str
    code: int = 1


def nothing(folder: Path) -> None:
    """An input for which nothing is needed."""


def holding(name: str, content: Callable[[], bytes] | bytes) -> Callable[[Path], object]:
    """Puts a file there; folders on the way are made."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())

    return make


def together(*makers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [make(folder) for make in makers]


def snapshot(folder: Path) -> dict[str, object]:
    """Every name below a folder with what it is: bytes of a file, else its kind."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        found[str(path.relative_to(folder))] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


def encode(suffix: str, picture: Array = STREET) -> bytes:
    done, data = cv2.imencode(suffix, picture)
    assert done
    return bytes(data.tobytes())


def save(kind: str, mode: str = "RGB", picture: Array = STREET, **options: Any) -> bytes:
    """The picture as Pillow writes it, in one of its modes."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., ::-1]).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Array:
    """The picture as Pillow reads it, upright, BGR: another reader than the one under test."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])


def broken(data: bytes, at: float, count: int = 1) -> bytes:
    """`count` bytes turned over, from a share of the length on."""
    changed = bytearray(data)
    first = int(at * len(changed))
    for place in range(first, first + count):
        changed[place] ^= 0xFF
    return bytes(changed)


def announcing(width: int, height: int) -> bytes:
    """A small PNG whose header says that it is large."""
    data = encode(".png")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
