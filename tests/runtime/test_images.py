"""Reading pictures: a damaged file is an error, never a grey half."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.images import SUFFIXES, is_image, read_image, read_label, write_image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
def test_pictures_come_back_as_they_were(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    cv2.imwrite(str(tmp_path / f"a{suffix}"), picture)
    assert (read_image(tmp_path / f"a{suffix}") == picture).all()


def test_a_grey_picture_has_three_channels(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), picture[..., 0])
    assert (read_image(tmp_path / "grey.png") == picture[..., :1]).all()
    assert read_image(tmp_path / "grey.png").shape == (40, 60, 3)


def test_a_label_keeps_its_ids(tmp_path: Path, picture: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "ids.png"), picture[..., 0])
    assert (read_label(tmp_path / "ids.png") == picture[..., 0]).all()


@pytest.mark.parametrize(
    ("made", "what"),
    [(lambda p: p, "3 channels of uint8"), (lambda p: p[..., 0].astype(np.uint16), "1 channels of uint16")],
)
def test_what_is_no_label_map(tmp_path: Path, picture: np.ndarray, made: object, what: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), made(picture))  # type: ignore[operator]
    with pytest.raises(
        UserError, match=rf"^{tmp_path}/a.png: is no label map \({what}\); it must be an 8-bit"
    ):
        read_label(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_picture_at_every_length(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    data = cv2.imencode(suffix, picture)[1].tobytes()
    file = tmp_path / f"a{suffix}"
    for length in (0, 1, 8, 100, len(data) // 2, len(data) - 13):
        file.write_bytes(data[:length])
        with pytest.raises(UserError, match=f"^{file}: (is truncated; copy|cannot be decoded)"):
            read_image(file)
    file.write_bytes(data + b"\0" * 100)  # some cameras append something
    assert read_image(file).shape == picture.shape


def test_a_header_of_more_pixels_than_can_be_read(tmp_path: Path) -> None:
    data = cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + data[24:29]
    file = tmp_path / "a.png"
    file.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    for read in (read_image, read_label):
        with pytest.raises(UserError, match=rf"^{file}: cannot be decoded \(.*; replace it or take it out$"):
            read(file)


def test_a_palette_png_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from PIL import Image

    palette = Image.fromarray(np.zeros((4, 6), np.uint8), mode="L").convert("P")
    palette.save(tmp_path / "a.png")
    with pytest.raises(UserError, match="of a palette PNG save the indices as grey values"):
        read_label(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_picture_is_known_by_its_first_bytes(
    tmp_path: Path, picture: np.ndarray, suffix: str
) -> None:
    file = tmp_path / f"Straße{suffix}"
    write_image(file, picture[..., 0] if suffix == ".pgm" else picture)
    assert is_image(file)
    file.write_bytes(b"text")
    assert not is_image(file)
    assert not is_image(tmp_path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(
        UserError, match=r"text.jpg: cannot be decoded as a picture; replace it or take it out"
    ):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(UserError, match=r"gone.jpg: cannot be read \(No such file or directory\)"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_image(tmp_path)
