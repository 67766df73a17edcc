"""Places where nothing can be written, or not what was asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.malformed.cases import STREET, Refusal, encode, holding, snapshot, together
from tests.malformed.test_paths import linked
from tests.malformed.test_videos import clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other words for it")

PICTURE = encode(".png")
IMAGE, VIDEO = holding("a.png", PICTURE), clip("a.mp4", 2)
FOLDER = holding("in/a.png", PICTURE)
LONG = "y" * 300


def folder(name: str) -> Callable[[Path], object]:
    return lambda here: (here / name).mkdir()


def image(output: str, line: str, *options: str, beside: Callable[[Path], object] | None = None) -> Refusal:
    make = together(IMAGE, beside) if beside else IMAGE
    return Refusal(make, ("a.png", "-o", output, *options), line)


def video(output: str, line: str, beside: Callable[[Path], object] | None = None) -> Refusal:
    return Refusal(together(VIDEO, beside) if beside else VIDEO, ("a.mp4", "-o", output), line)


def written_as(*suffixes: str) -> str:
    return f"written as {' or '.join(rf'[.]{suffix}' for suffix in suffixes)}; name such a file"


REFUSED = {
    "image-of-an-unknown-suffix": image("out.xyz", f"out.xyz: an image is {written_as('png', 'jpg', 'jpeg')}"),
    "image-without-a-suffix": image("out", f"out: an image is {written_as('png', 'jpg', 'jpeg')}"),
    "class-ids-as-jpeg": image("out.jpg", f"out.jpg: class ids are {written_as('png')}", "--mask"),
    "image-to-dev-full": image("/dev/full", "/dev/full: an image is written as"),
    "image-to-an-empty-name": image("", "[.]: an image is written as .*; name such a file"),
    "video-of-an-unknown-suffix": video("out.avi", f"out.avi: a video is {written_as('mp4', 'webm')}"),
    "image-onto-itself": image("./a.png", "a.png: is the source itself; name another output"),
    "video-onto-itself": video("a.mp4", "a.mp4: is the source itself; name another output"),
    "hard-link-to-the-source": image(
        "b.png", "b.png: is the source itself", beside=lambda here: os.link(here / "a.png", here / "b.png")
    ),
    "folder-onto-itself": Refusal(FOLDER, ("in", "-o", "in/../in"), "in/[.][.]/in: is the source itself; name"),
    "folder-to-a-video": Refusal(FOLDER, ("in", "-o", "out.mp4"), "out.mp4: a folder of images gives a folder; name"),
    "folder-to-a-file": Refusal(
        together(FOLDER, holding("out", b"old")), ("in", "-o", "out"), "out: a folder of images gives a folder; name"
    ),
    "image-to-a-folder-named-png": image(
        "out.png", "out.png: cannot be written .*; free space", beside=folder("out.png")
    ),
    "video-to-a-folder-named-mp4": video("out.mp4", "out.mp4: cannot be written .*; free space", folder("out.mp4")),
    "image-below-a-file": image("a.png/out.png", "a.png/out.png: cannot be written .*; free space"),
    "video-below-a-file": video("a.mp4/b/out.mp4", "a.mp4/b/out.mp4: cannot be written .*; free space"),
    "image-to-a-name-of-300-bytes": image(f"{LONG}.png", "y{300}.png: cannot be written .*; free space"),
    "video-to-a-name-of-300-bytes": video(f"{LONG}.mp4", "y{300}.mp4: cannot be written .*; free space"),
    "name-of-300-bytes-in-a-new-folder": image(f"new/folder/{LONG}.png", "new/folder/y{300}.png: cannot be written"),
    "image-into-proc": image("/proc/out.png", "/proc/out.png: cannot be written .*; free space"),
    "video-into-proc": video("/proc/out.mp4", "/proc/out.mp4: OpenCV cannot write .*; check the folder"),
    "jpeg-of-70000-pixels": Refusal(
        holding("a.png", lambda: encode(".png", np.zeros((1, 70_000, 3), np.uint8))),
        ("a.png", "-o", "out.jpg"),
        "out.jpg: OpenCV cannot write 70000x.* pixels in this format; name a .png file",
    ),
    "cut-image-into-a-new-folder": Refusal(
        holding("a.png", PICTURE[:-20]), ("a.png", "-o", "new/out.png"), "a.png: is truncated; copy"
    ),
    "image-shown": Refusal(IMAGE, ("a.png", "-o", "out.png", "--frames", "1"), "a.png: only a video is shown .*; give"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: Refusal, refuses: Callable[[Refusal], None]) -> None:
    refuses(case)


RIGHT = {
    "missing-folders-are-made": (IMAGE, "a.png", "new/folder/out.png"),
    "missing-folders-are-made-for-a-video": (VIDEO, "a.mp4", "new/folder/out.mp4"),
    "video-suffix-in-capitals-out": (VIDEO, "a.mp4", "OUT.MP4"),
    "link-to-dev-full-is-replaced": (together(IMAGE, linked("out.png", "/dev/full")), "a.png", "out.png"),
}


@pytest.mark.parametrize(("make", "source", "output"), RIGHT.values(), ids=RIGHT)
def test_written(make: Any, source: str, output: str, here: Path, infer: Any) -> None:
    make(here)
    assert infer(source, "-o", output).code == 0
    file = here / output
    assert file.is_file()
    assert not file.is_symlink()
    files = {path for path, kind in snapshot(here).items() if isinstance(kind, bytes)}
    assert files == {source, output}


FULL = {
    "disk-full-for-an-image": (IMAGE, "a.png", "out.png"),
    "disk-full-for-a-video": (VIDEO, "a.mp4", "out.mp4"),
}


@pytest.mark.parametrize(("make", "source", "output"), FULL.values(), ids=FULL)
def test_a_full_disk(make: Any, source: str, output: str, here: Path, infer: Any) -> None:
    """A limit on the size of files stands in for it."""
    resource = pytest.importorskip("resource")
    make(here)
    before = snapshot(here)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        outcome = infer(source, "-o", f"new/{output}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 1
    assert outcome.error.startswith(f"new/{output}: "), outcome.error
    assert "; free space" in outcome.error
    assert snapshot(here) == before


def test_the_old_file_stays_where_the_new_one_fails(here: Path, infer: Any) -> None:
    together(holding("a.png", PICTURE[:-20]), holding("out.png", b"old"))(here)
    assert infer("a.png", "-o", "out.png").code == 1
    assert (here / "out.png").read_bytes() == b"old"
    (here / "a.png").write_bytes(PICTURE)
    assert infer("a.png", "-o", "out.png").code == 0
    assert cv2.imread("out.png").shape[1] == STREET.shape[1]
