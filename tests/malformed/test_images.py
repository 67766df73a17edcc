"""Images that are not what they seem: refused in one line, or segmented as what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import segment
from tests.malformed.cases import STREET, Array, Refusal, announcing, broken, decoded, encode, holding, save

NO_PICTURE = "cannot be decoded as a picture; replace it or take it out"
TRUNCATED = "is truncated; copy or download it again"


def refusal(name: str, content: Callable[[], bytes] | bytes, says: str) -> Refusal:
    return Refusal(holding(name, content), (name, "-o", "out.png"), f"{name}: {says}")


def cut(suffix: str, share: float = 0.7) -> Callable[[], bytes]:
    def half() -> bytes:
        data = encode(suffix)
        return data[: int(share * len(data))]

    return half


def large(suffix: str) -> bytes:
    return encode(suffix, cv2.resize(STREET, (600, 400)))


REFUSED = {
    "zero-bytes": refusal("a.png", b"", NO_PICTURE),
    "text-named-png": refusal("a.png", b"hello", NO_PICTURE),
    "gif-by-its-name": refusal("a.gif", lambda: save("GIF", "P"), "is no folder, no image .*; convert it"),
    "png-cut-short": refusal("a.png", cut(".png"), TRUNCATED),
    "jpeg-cut-short": refusal("a.jpg", cut(".jpg"), TRUNCATED),
    "jpeg-that-lacks-its-last-bytes": refusal("a.jpg", cut(".jpg", 0.99), TRUNCATED),
    "bmp-cut-short": refusal("a.bmp", cut(".bmp"), NO_PICTURE),
    "webp-cut-short": refusal("a.webp", cut(".webp"), NO_PICTURE),
    "tiff-cut-short": refusal("a.tiff", cut(".tiff"), NO_PICTURE),
    "ppm-cut-short": refusal("a.ppm", cut(".ppm"), NO_PICTURE),
    "ascii-ppm-cut-short": refusal("a.ppm", b"P3\n2 2\n255\n255 0 0 0 255 0\n", NO_PICTURE),
    "ppm-of-negative-width": refusal("a.ppm", b"P6\n-2 2\n255\n255255255255", NO_PICTURE),
    "png-with-a-wrong-checksum": refusal("a.png", lambda: broken(large(".png"), 0.5), NO_PICTURE),
    "png-with-a-wrong-header-checksum": refusal("a.png", lambda: broken(encode(".png")[:40], 0.7), TRUNCATED),
    "jpeg-damaged-in-the-middle": refusal(
        "a.jpg",
        lambda: large(".jpg")[:3000] + bytes(200) + large(".jpg")[3200:],
        r"is damaged \(Corrupt JPEG data: .*\); copy or download it again",
    ),
    "two-jpegs-run-together": refusal("a.jpg", lambda: encode(".jpg")[:-30] + encode(".jpg"), "is damaged"),
    "png-of-100000x100000": refusal(
        "a.png", lambda: announcing(100_000, 100_000), r"cannot be decoded \(.*\); replace"
    ),
    "ppm-of-99999x99999": refusal(
        "a.ppm", b"P6\n99999 99999\n255\nabc", r"cannot be decoded \(.*\); replace"
    ),
    "float-tiff": refusal("a.tiff", lambda: encode(".tiff", STREET.astype(np.float32) / 255), NO_PICTURE),
}


def flat(width: int, height: int) -> tuple[str, bytes, Array]:
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[height // 2 :, width // 2 :] = 200
    return "a.png", encode(".png", picture), picture


def as_pillow_reads(name: str, data: bytes) -> tuple[str, bytes, Array]:
    return name, data, decoded(data)


def rotated() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x112] = 6  # the camera was held upright
    return save("JPEG", exif=exif)


def pages(kind: str, **options: Any) -> bytes:
    from PIL import Image

    other = Image.new("RGB", (60, 40), (255, 0, 0))
    return save(kind, save_all=True, append_images=[other, other], **options)


GREY = STREET[..., :1].repeat(3, axis=2)
RIGHT: dict[str, Callable[[], tuple[str, bytes, Array]]] = {
    "png-named-jpg": lambda: ("a.jpg", encode(".png"), STREET),
    "jpeg-named-png": lambda: as_pillow_reads("a.png", encode(".jpg")),
    "gif-named-png": lambda: as_pillow_reads("a.png", save("GIF", "P")),
    "suffix-in-capitals": lambda: ("A.PNG", encode(".png"), STREET),
    "1x1": lambda: flat(1, 1),
    "1x5000": lambda: flat(1, 5000),
    "5000x1": lambda: flat(5000, 1),
    "20000x8": lambda: flat(20000, 8),
    "8x20000": lambda: flat(8, 20000),
    "grey-8-bit": lambda: ("a.png", encode(".png", STREET[..., 0]), GREY),
    "grey-16-bit": lambda: ("a.png", encode(".png", STREET[..., 0].astype(np.uint16) * 257), GREY),
    "rgb-16-bit": lambda: ("a.png", encode(".png", STREET.astype(np.uint16) * 257), STREET),
    "rgb-16-bit-tiff": lambda: ("a.tif", encode(".tif", STREET.astype(np.uint16) * 257), STREET),
    "alpha": lambda: ("a.png", encode(".png", np.dstack([STREET, STREET[..., 0]])), STREET),
    "grey-and-alpha": lambda: as_pillow_reads("a.png", save("PNG", "LA")),
    "palette": lambda: as_pillow_reads("a.png", save("PNG", "P")),
    "1-bit": lambda: as_pillow_reads("a.png", save("PNG", "1")),
    "cmyk-jpeg": lambda: ("a.jpg", save("JPEG", "CMYK"), cv2.imdecode(np.frombuffer(save("JPEG", "CMYK"), "u1"), 1)),
    "rotated-by-exif": lambda: as_pillow_reads("a.jpg", rotated()),
    "progressive-jpeg": lambda: as_pillow_reads("a.jpg", save("JPEG", progressive=True)),
    "jpeg-and-garbage": lambda: as_pillow_reads("a.jpg", encode(".jpg") + b"\0garbage" * 50),
    "png-with-a-wrong-checksum-at-its-end": lambda: ("a.png", broken(encode(".png"), 1 - 1e-9), STREET),
    "first-page-of-a-tiff": lambda: ("a.tiff", pages("TIFF"), STREET),
    "first-picture-of-an-animated-png": lambda: ("a.png", pages("PNG"), STREET),
    "first-picture-of-an-animated-webp": lambda: ("a.webp", pages("WEBP", lossless=True), STREET),
    "bmp": lambda: ("a.bmp", encode(".bmp"), STREET),
    "lzw-tiff": lambda: ("a.tif", save("TIFF", compression="tiff_lzw"), STREET),
    "ascii-ppm": lambda: (
        "a.ppm",
        b"P3\n2 1\n255\n255 0 0 0 255 9\n",
        np.array([[[0, 0, 255], [9, 255, 0]]], np.uint8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: Refusal, refuses: Callable[[Refusal], None]) -> None:
    refuses(case)


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_segmented_as_what_it_is(
    case: Callable[[], tuple[str, bytes, Array]], here: Path, infer: Any, given: list[Any], model: Model
) -> None:
    name, data, picture = case()
    (here / name).write_bytes(data)
    outcome = infer(name, "-o", "out.png", "--mask")
    assert (outcome.code, outcome.err) == (0, "")
    assert (given[0] == picture).all()
    assert (cv2.imread("out.png", cv2.IMREAD_UNCHANGED) == segment(model, picture)).all()
    assert {path.name for path in here.iterdir()} == {name, "out.png"}


@pytest.mark.parametrize("view", ["--overlay", "--side-by-side"])
def test_every_narrow_picture_can_be_drawn(here: Path, infer: Any, view: str) -> None:
    """Narrower than the legend's margin, as wide as it, and wider."""
    (here / "in").mkdir()
    for width in (1, 2, 6, 7, 8, 9, 15, 16):
        (here / "in" / f"{width:02d}.png").write_bytes(encode(".png", STREET[:, :width]))
    outcome = infer("in", "-o", "out", view)
    assert (outcome.code, outcome.err) == (0, "")
    for width in (1, 7, 16):
        drawn = cv2.imread(f"out/{width:02d}.png")
        assert drawn.shape[1] == (width if view == "--overlay" else 2 * width + 2)
