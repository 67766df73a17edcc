"""MATLAB files written by hand, one written by SciPy, and what a damaged one does."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.data.matlab import read_matrix

STORED = {"u1": 2, "i2": 3, "u2": 4, "i4": 5, "f8": 9}
UINT16 = 11
"""The class of a matrix, whatever its values are stored as."""


def element(kind: int, data: bytes, order: str = "<", *, small: bool = False) -> bytes:
    if small:
        return struct.pack(f"{order}I4s", len(data) << 16 | kind, data)
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matlab(order: str = "<", *, compress: bool = False, **matrices: NDArray[Any]) -> bytes:
    """A file of level 5."""
    data = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x100, 0x4D49)
    for name, matrix in matrices.items():
        kind = STORED[matrix.dtype.str[1:]]
        body = element(6, struct.pack(f"{order}II", UINT16, 0), order)
        body += element(5, struct.pack(f"{order}{matrix.ndim}i", *matrix.shape), order)
        body += element(1, name.encode(), order, small=len(name) <= 4)
        body += element(kind, matrix.astype(matrix.dtype.newbyteorder(order)).tobytes(order="F"), order)  # type: ignore[call-overload]
        if compress:
            packed = zlib.compress(element(14, body, order))
            data += struct.pack(f"{order}II", 15, len(packed)) + packed
        else:
            data += element(14, body, order)
    return data


def read(tmp_path: Path, data: bytes, name: str = "S") -> NDArray[Any]:
    (tmp_path / "label.mat").write_bytes(data)
    return read_matrix(tmp_path / "label.mat", name)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", STORED)
def test_a_matrix_among_others(tmp_path: Path, order: str, compress: bool, dtype: str) -> None:
    label = np.arange(15).reshape(3, 5).astype(dtype)
    others = {"regionMapStuff": np.ones((2, 2), "u1"), "x": np.ones((7, 1), "u2")}
    data = matlab(order, compress=compress, **others, S=label, T=label + 1)
    found = read(tmp_path, data)
    assert found.dtype.str[1:] == dtype
    assert (found == label).all()
    assert (read(tmp_path, data, "T") == label + 1).all()


def test_a_file_that_scipy_wrote(tmp_path: Path) -> None:
    """scipy.io.savemat, SciPy 1.17.1, do_compression=True: a cell of text, regionMapStuff, and S."""
    data = base64.b85decode(
        "000000000000Bu&4*&oFI{*Lxc%0*7U|=W!Vm2V=0AfZ42w+9x!!U@SoLEqjnV(n82V`3y>0`m757|5cC_ho5xTGjG"
        "wFCfFK?kM}0000r0001Zoa19)U~m9pHX!BzVonAKV1@FTpqLSe`GB}6H9a#w&o{9kxTG{K4J60Hzz75Yf{g|`4*&oF"
        "Gynhqc%0*7U|?_nVm2V=0Ag+i2w;WsnShuXh#7$}7)Y}KF%MXU4kIJO|Nq+<*ugviL-qs6"
    )
    found = read(tmp_path, b"MATLAB 5.0 MAT-file".ljust(116) + data)
    assert found.dtype == np.uint16
    assert found.tolist() == [[0, 1, 182], [300, 65535, 7]]


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_file_is_a_value_error(tmp_path: Path, compress: bool) -> None:
    data = matlab(compress=compress, S=np.arange(12, dtype="u2").reshape(3, 4))
    for kept in range(0, len(data), 7):
        with pytest.raises(ValueError):
            read(tmp_path, data[:kept])
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        broken[rng.integers(len(data))] = rng.integers(256)
        try:
            read(tmp_path, broken)
        except ValueError:
            continue


def test_what_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no matrix S"):
        read(tmp_path, matlab(T=np.ones((2, 2), "u2")))
    with pytest.raises(ValueError, match="no MATLAB file of level 5"):
        read(tmp_path, b"MATLAB 7.3 MAT-file".ljust(126) + b"IM")
    with pytest.raises(OSError, match="No such file"):
        read_matrix(tmp_path / "none.mat", "S")
