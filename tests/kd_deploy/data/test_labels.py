"""Ids to classes, palette PNGs, and the colours of classes without any."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from kd_deploy.data.labels import LabelIds, pascal_palette, read_indices
from kd_deploy.runtime.errors import UserError


def test_ids_become_classes() -> None:
    ids = LabelIds({7: 0, 3: 1}, (0,), "there are 3 and 7")
    for dtype in (np.uint8, np.uint16):
        labels, unknown = ids.to_classes(np.array([[7, 3, 0]], dtype))
        assert labels.dtype == np.uint8
        assert labels.tolist() == [[0, 1, 255]]
        assert unknown == {}


def test_unknown_ids_are_counted_and_ignored() -> None:
    ids = LabelIds({7: 0, 3: 1}, (0,), "there are 3 and 7")
    labels, unknown = ids.to_classes(np.array([[7, 300, 65535], [300, 3, 0]], np.uint16))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 255, 255], [255, 1, 255]]
    assert unknown == {300: 2, 65535: 1}


def test_a_png_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    file = tmp_path / "bomb.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(UserError, match=r"bomb\.png: cannot be decoded"):
        read_indices(file)


def test_the_palette_of_pascal_voc() -> None:
    colors = pascal_palette(256)
    assert colors[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colors[[8, 15, 20, 255]].tolist() == [[64, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert len(np.unique(colors, axis=0)) == 256
