"""Read a matrix of numbers from a MATLAB file (MathWorks, "MAT-File Format", level 5).

Not SciPy's reader: one data set alone needs it, and on a damaged file it may end the process.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
Order = Literal["<", ">"]
_ORDERS: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
"""How values are stored; MATLAB takes the smallest type that holds them, whatever the matrix's class."""
_NUMERIC_CLASSES = range(6, 16)
"""From double to uint64."""


def read_matrix(path: Path, name: str) -> NDArray[Any]:
    """The matrix `name`, in the type that the file stores it in.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no MATLAB file of level 5, is damaged, or has no such matrix.
    """
    data = path.read_bytes()
    order = _ORDERS.get(data[_HEADER - 2 : _HEADER])
    if order is None or data[:10] == b"MATLAB 7.3":
        raise ValueError("no MATLAB file of level 5")
    try:
        for kind, body in _elements(memoryview(data)[_HEADER:], order):
            if kind == _COMPRESSED:
                kind, body = next(_elements(memoryview(zlib.decompress(body)), order))
            if kind == _MATRIX and (matrix := _matrix(body, order, name)) is not None:
                return matrix
    except (struct.error, zlib.error, StopIteration) as error:
        raise ValueError(f"damaged: {error}") from error
    raise ValueError(f"no matrix {name}")


def _elements(data: memoryview, order: Order) -> Iterator[tuple[int, memoryview]]:
    """The data elements that follow each other in `data`: kind and body of each."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # a small element: kind and size share four bytes, four of data follow
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        body = data[start : start + size]
        if len(body) < size:
            raise ValueError("damaged: it ends too soon")
        yield kind, body
        at = start + size
        if kind != _COMPRESSED:
            at += -at % 8


def _matrix(body: memoryview, order: Order, name: str) -> NDArray[Any] | None:
    """The matrix in a matrix element; None where it has another name or holds no numbers."""
    parts = _elements(body, order)
    (_, flags), (_, shape), (_, title) = islice(parts, 3)
    if (
        title.tobytes() != name.encode()
        or struct.unpack_from(f"{order}I", flags)[0] & 0xFF not in _NUMERIC_CLASSES
    ):
        return None
    kind, values = next(parts)
    if kind not in _NUMBERS:
        raise ValueError(f"{name} holds no numbers")
    matrix = np.frombuffer(values, np.dtype(_NUMBERS[kind]).newbyteorder(order))
    return matrix.reshape(np.frombuffer(shape, f"{order}i4"), order="F")
