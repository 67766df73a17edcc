"""Names that are hard to read, to quote or to print, and sources that are no plain file."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

from kd_deploy.runtime.images import read_label
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import segment
from kd_deploy.runtime.video import read_video
from tests.malformed.cases import STREET, Refusal, encode, holding, nothing, snapshot, together
from tests.malformed.test_videos import clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")

OUT = ("-o", "out.png")
NOT_UTF8 = os.fsdecode(b"\xff")
PICTURE = encode(".png")

NAMES = {
    "unicode": "Straße 日本",
    "space": " a b ",
    "line-end": "a\nb",
    "terminal-command": "a\x1b[31mb",
    "quotes": "a'\"`b",
    "shell": "$(x);&|",
    "backslash": "a\\b",
    "leading-dash": "-x",
    "pattern-of-numbers": "a%03d",
    "pattern-of-a-shell": "a*[b]?",
    "protocol-of-ffmpeg": "file:pipe:concat:a",
    "time-of-day": "12:30",
    "pipeline": "wow ! nice",
    "251-bytes": "x" * 251,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_image_of_that_name(name: str, here: Path, infer: Any, model: Model) -> None:
    """Read and written, and the line that says so is one."""
    (here / f"{name}.png").write_bytes(PICTURE)
    (here / "out").mkdir()
    outcome = infer("-o", f"out/{name}.png", "--mask", "--", f"{name}.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 1
    assert "\x1b" not in outcome.out
    assert list(snapshot(here / "out")) == [f"{name}.png"]
    assert (read_label(here / "out" / f"{name}.png") == segment(model, STREET)).all()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_video_of_that_name(name: str, here: Path, infer: Any) -> None:
    clip("a.mp4", 3)(here).rename(here / f"{name}.mp4")
    outcome = infer("-o", "out.mp4", "--frames", "1", "--", f"{name}.mp4")
    assert (outcome.code, outcome.err) == (0, "")
    (here / f"{name}.mp4").unlink()
    assert infer("-o", f"{name}.mp4", "--frames", "1", "--", "out.mp4").code == 0
    with read_video(here / f"{name}.mp4") as written:
        assert len(list(written)) == 1


def linked(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def listening(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.png")


def fifo(name: str) -> Callable[[Path], object]:
    return lambda folder: os.mkfifo(folder / name)


GONE = "no such file or folder; check the path"
DEVICE = "is a device, a pipe or a socket; save what it gives to a file"
NO_IMAGES = r"holds no images \(.*\); check the path"

REFUSED = {
    "empty-name": Refusal(nothing, ("", "-o", "out"), "SOURCE: is empty; name a file"),
    "name-with-a-nul": Refusal(nothing, ("a\0b.png", *OUT), rf"a\\x00b.png: {GONE}"),
    "name-with-a-line-end-that-is-gone": Refusal(nothing, ("a\nb.png", *OUT), rf"a\\nb.png: {GONE}"),
    "name-of-300-bytes": Refusal(nothing, (f"{'x' * 300}.png", *OUT), "x{300}.png: cannot be read .*; check the path"),
    "folder-without-images": Refusal(holding("in/notes.txt", b"x"), ("in", "-o", "out"), f"in: {NO_IMAGES}"),
    "images-in-a-nested-folder": Refusal(holding("in/sub/a.png", PICTURE), ("in", "-o", "out"), f"in: {NO_IMAGES}"),
    "folder-named-png": Refusal(
        lambda folder: (folder / "a.png").mkdir(), ("a.png", "-o", "out"), f"a.png: {NO_IMAGES}"
    ),
    "text-among-images": Refusal(
        together(holding("in/a.png", PICTURE), holding("in/z.png", b"text")),
        ("in", "-o", "out"),
        "in/z.png: cannot be decoded as a picture; replace it",
    ),
    "two-images-of-one-name": Refusal(
        together(holding("in/a.png", PICTURE), holding("in/a.jpg", PICTURE)),
        ("in", "-o", "out"),
        "in/a.png: a.jpg would be written to out/a.png too; rename one",
    ),
    "link-to-itself": Refusal(linked("a.png", "a.png"), ("a.png", *OUT), "a.png: cannot be read .*; check the path"),
    "link-to-nothing": Refusal(linked("a.png", "gone"), ("a.png", *OUT), f"a.png: {GONE}"),
    "link-to-dev-zero": Refusal(linked("a.png", "/dev/zero"), ("a.png", *OUT), f"a.png: {DEVICE}"),
    "dev-null": Refusal(nothing, ("/dev/null", *OUT), f"/dev/null: {DEVICE}"),
    "dev-zero": Refusal(nothing, ("/dev/zero", *OUT), f"/dev/zero: {DEVICE}"),
    "pipe-named-png": Refusal(fifo("a.png"), ("a.png", *OUT), f"a.png: {DEVICE}"),
    "pipe-named-mp4": Refusal(fifo("a.mp4"), ("a.mp4", "-o", "out.mp4"), f"a.mp4: {DEVICE}"),
    "socket-named-png": Refusal(listening, ("a.png", *OUT), f"a.png: {DEVICE}"),
    "video-whose-name-is-not-utf-8": Refusal(
        lambda folder: clip("a.mp4", 1)(folder).rename(folder / f"{NOT_UTF8}.mp4"),
        (f"{NOT_UTF8}.mp4", "-o", "out.mp4"),
        r"\\udcff.mp4: is not UTF-8, .*; rename it",
    ),
    "video-to-a-name-that-is-not-utf-8": Refusal(
        clip("a.mp4", 1), ("a.mp4", "-o", f"{NOT_UTF8}.mp4"), r"\\udcff.mp4: is not UTF-8, .*; rename it"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: Refusal, refuses: Callable[[Refusal], None]) -> None:
    refuses(case)


def test_an_image_whose_name_is_not_utf8(here: Path, infer: Any) -> None:
    (here / f"{NOT_UTF8}.png").write_bytes(PICTURE)
    assert infer(f"{NOT_UTF8}.png", "-o", f"o{NOT_UTF8}.png").out.startswith(r"o\udcff.png: 1 frames")
    report = json.loads(infer(f"{NOT_UTF8}.png", "-o", "out.png", "--json").out)
    assert os.fsencode(report["source"]) == b"\xff.png"


def test_a_folder_with_links_and_pipes_among_its_images(here: Path, infer: Any) -> None:
    together(holding("in/a.png", PICTURE), linked("in/l.png", "l.png"), linked("in/d.png", "gone"))(here)
    fifo("in/f.png")(here)
    assert infer("in", "-o", "out").code == 0
    assert list(snapshot(here / "out")) == ["a.png"]


def test_a_cut_image_among_good_ones_stops_behind_whole_ones(here: Path, infer: Any) -> None:
    together(holding("in/a.png", PICTURE), holding("in/b.png", PICTURE[:-20]), holding("in/c.png", PICTURE))(
        here
    )
    outcome = infer("in", "-o", "out", "--mask")
    assert (outcome.code, outcome.error) == (1, "in/b.png: is truncated; copy or download it again")
    assert list(snapshot(here / "out")) == ["a.png"]
    assert cv2.imread("out/a.png", cv2.IMREAD_UNCHANGED).shape == (40, 60)


@contextmanager
def without_rights(*paths: Path) -> Iterator[None]:
    """The paths as nobody may use them, for root too, whom no mode of a file stops: as another user meanwhile."""
    user = os.geteuid()
    for path in paths:
        path.chmod(0)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        for path in paths:
            path.chmod(0o755)


LOCKED = {
    "image-without-rights": ("in/a.png", "in/a.png"),
    "video-without-rights": ("in/a.mp4", "in/a.mp4"),
    "folder-without-rights": ("in", "in"),
    "image-in-a-folder-without-rights": ("in", "in/a.png"),
    "image-without-rights-among-others": ("in/a.png", "in"),
}


@pytest.mark.parametrize(("locked", "source"), LOCKED.values(), ids=LOCKED)
def test_no_rights(locked: str, source: str, here: Path, public: Path, kd: Any) -> None:
    together(holding("in/a.png", PICTURE), lambda folder: clip("a.mp4", 1)(folder / "in"))(public)
    output = public / (
        "out.mp4" if source.endswith("mp4") else "out.png" if source.endswith("png") else "out"
    )
    with without_rights(public / locked):
        outcome = kd("infer", public / "bundle", public / source, "-o", output)
    assert outcome.code == 1
    assert outcome.error.startswith(f"{public / 'in'}"), outcome.error
    assert "cannot be read (Permission denied); check" in outcome.error
    assert not output.exists()


WRITTEN = {"image-into-a-folder-without-rights": "a.png", "video-into-a-folder-without-rights": "a.mp4"}


@pytest.mark.parametrize("source", WRITTEN.values(), ids=WRITTEN)
def test_no_right_to_write(source: str, public: Path, kd: Any) -> None:
    together(holding("in/a.png", PICTURE), lambda folder: clip("a.mp4", 1)(folder / "in"))(public)
    (public / "out").mkdir()
    with without_rights(public / "out"):
        outcome = kd("infer", public / "bundle", public / "in" / source, "-o", public / "out" / source)
    assert outcome.code == 1
    assert outcome.error.startswith(f"{public / 'out' / source}: ")
    assert "cannot" in outcome.error
    assert snapshot(public / "out") == {}
