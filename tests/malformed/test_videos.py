"""Videos that are not what they seem, and live sources that are not there."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.video import read_video
from tests.malformed.cases import STREET, Refusal, encode, holding, nothing, together

NO_VIDEO = r"cannot be decoded as a video \(.*\); check it with ffprobe, or convert it to mp4"
OUT = ("-o", "out.mp4")
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mpg": "mpg2"}


def clip(
    name: str, frames: int = 6, size: tuple[int, int] = (64, 48), fps: float = 10
) -> Callable[[Path], Path]:
    """Puts a video there, of a picture that moves."""

    def make(folder: Path) -> Path:
        codec = cv2.VideoWriter.fourcc(*CODECS[Path(name).suffix])
        writer = cv2.VideoWriter(str(folder / name), cv2.CAP_FFMPEG, codec, fps, size)
        for number in range(frames):
            writer.write(np.roll(cv2.resize(STREET, size), 3 * number, axis=1))
        writer.release()
        return folder / name

    return make


def changed(name: str, source: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Puts there what becomes of a video's bytes."""

    def make(folder: Path) -> None:
        original = clip(f"original{source}")(folder)
        data = original.read_bytes()
        original.unlink()
        (folder / name).write_bytes(change(data))

    return make


def without_moov(data: bytes) -> bytes:
    return data[: data.index(b"moov") - 4]


def cut_in_mdat(data: bytes) -> bytes:
    """The index is whole, and says where frames would be that are gone."""
    mdat, moov = data.index(b"mdat") - 4, data.index(b"moov") - 4
    return data[: mdat + (moov - mdat) // 2] + data[moov:]


def sound(folder: Path) -> None:
    with wave.open(str(folder / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 4000, "NONE", "not compressed"))
        file.writeframes(bytes(8000))
    (folder / "a.wav").rename(folder / "a.mp4")


def refusal(make: Callable[[Path], object], says: str = NO_VIDEO, name: str = "a.mp4") -> Refusal:
    return Refusal(make, (name, *OUT), f"{name}: {says}")


def live(source: str, line: str, code: int = 1) -> Refusal:
    return Refusal(nothing, (source, *OUT), line, code)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"
NO_GSTREAMER = "this OpenCV has no GStreamer .*; take the system's"

REFUSED = {
    "mp4-without-moov": refusal(changed("a.mp4", ".mp4", without_moov)),
    "mp4-cut-in-mdat": refusal(changed("a.mp4", ".mp4", cut_in_mdat)),
    "video-of-zero-bytes": refusal(holding("a.mp4", b"")),
    "text-named-mp4": refusal(holding("a.mp4", b"hello\n" * 100)),
    "playlist-named-mp4": refusal(holding("a.mp4", PLAYLIST)),
    "list-of-files-named-mp4": refusal(holding("a.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n")),
    "sound-alone": refusal(sound),
    "avi-cut-short": refusal(changed("a.avi", ".avi", lambda data: data[: len(data) // 20]), name="a.avi"),
    "video-named-png": Refusal(
        changed("a.png", ".mp4", lambda data: data), ("a.png", "-o", "out.png"), "a.png: cannot be decoded"
    ),
    "camera-that-is-not-there": live("99", "camera 99: cannot be opened; check that it is plugged in"),
    "camera-device-that-is-not-there": live("/dev/video99", "camera /dev/video99: cannot be opened; check"),
    "camera-of-too-many-digits": live("9" * 20, "9{20}: no such file or folder; check the path"),
    "superscript-two": live("²", "²: no such file or folder; check the path"),
    "rtsp-refused": live("rtsp://127.0.0.1:1/none", "rtsp://127.0.0.1:1/none: cannot be opened .*; try it with"),
    "unknown-scheme": live("ftp://host/a.mp4", "ftp://host/a.mp4: no scheme that is known; write one of"),
    "no-address": live("http://", "http://: cannot be opened .*; try it with ffprobe"),
    "pipeline-without-gstreamer": live("nvarguscamerasrc ! appsink", f"nvarguscamerasrc ! appsink: {NO_GSTREAMER}", 3),
    "empty-pipeline": live(" ! ", f" ! : {NO_GSTREAMER}", 3),
}  # fmt: skip


def no_rate(data: bytes) -> bytes:
    changed = bytearray(data)
    header, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
    changed[header : header + 4] = bytes(4)
    changed[stream + 20 : stream + 28] = bytes(8)
    return bytes(changed)


def rate(numerator: int, denominator: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        stream = data.index(b"strh") + 28
        return data[:stream] + struct.pack("<II", denominator, numerator) + data[stream + 8 :]

    return change


def two_sizes(folder: Path) -> None:
    first, second = (clip(f"{width}.mpg", 4, (width, 48), 25)(folder) for width in (64, 96))
    (folder / "a.mpg").write_bytes(first.read_bytes() + second.read_bytes())
    first.unlink()
    second.unlink()


RIGHT: dict[str, tuple[Callable[[Path], object], str, int, tuple[int, int], float]] = {
    "mp4-named-avi": (changed("a.avi", ".mp4", bytes), "a.avi", 6, (48, 64), 10),
    "png-named-mp4": (holding("a.mp4", lambda: encode(".png")), "a.mp4", 1, (40, 60), 25),
    "video-suffix-in-capitals": (changed("A.MP4", ".mp4", bytes), "A.MP4", 6, (48, 64), 10),
    "no-frame-rate": (changed("a.avi", ".avi", no_rate), "a.avi", 6, (48, 64), 25),
    "100000-frames-a-second": (changed("a.avi", ".avi", rate(100_000, 1)), "a.avi", 6, (48, 64), 25),
    "rate-that-mpeg-4-cannot-say": (changed("a.avi", ".avi", rate(119_873, 1000)), "a.avi", 6, (48, 64), 119.87),
    "one-frame": (clip("a.mp4", 1), "a.mp4", 1, (48, 64), 10),
    "odd-sides": (clip("a.mp4", 3, (31, 17)), "a.mp4", 3, (16, 30), 10),  # OpenCV writes them even
    "garbage-at-the-end": (changed("a.mp4", ".mp4", lambda data: data + b"garbage" * 99), "a.mp4", 6, (48, 64), 10),
    "size-that-changes": (two_sizes, "a.mpg", 7, (48, 64), 25),  # FFmpeg scales to the first
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: Refusal, refuses: Callable[[Refusal], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: False)
    refuses(case)


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_segmented_as_what_it_is(case: Any, here: Path, infer: Any, given: list[Any]) -> None:
    """Every frame, at its size, into a file of as many frames that plays as fast."""
    make, name, frames, size, fps = case
    make(here)
    outcome = infer(name, *OUT, "--mask")
    assert (outcome.code, outcome.err) == (0, "")
    assert [picture.shape[:2] for picture in given] == [size] * frames
    with read_video(here / "out.mp4") as written:
        assert written.info.fps == pytest.approx(fps)
        assert [image.shape[:2] for image in written] == [size] * frames
    assert {path.name for path in here.iterdir()} == {name, "out.mp4"}


class Page(http.server.BaseHTTPRequestHandler):
    """A web server that has one page and no video."""

    def do_GET(self) -> None:
        if self.path != "/page":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>" * 100)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Of a web server, and of one that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield {"server": server.server_port, "silent": silent.getsockname()[1]}
        server.shutdown()
        server.server_close()
        thread.join()


ADDRESSES = {
    "http-404": "http://127.0.0.1:{server}/gone.mp4",
    "web-page": "http://127.0.0.1:{server}/page",
    "http-server-that-is-silent": "http://127.0.0.1:{silent}/a.mp4",
    "rtsp-server-that-is-silent": "rtsp://127.0.0.1:{silent}/a",
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_that_gives_no_video(
    address: str, ports: dict[str, int], refuses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.open.OPEN_SECONDS", 1)
    text = address.format(**ports)
    refuses(Refusal(nothing, (text, *OUT), rf"{text}: cannot be opened \(refused, .*\); try it with ffprobe"))


def test_a_folder_named_mp4(here: Path, infer: Any) -> None:
    """It is a folder, whatever its name."""
    together(holding("a.mp4/1.png", encode(".png")), holding("a.mp4/2.png", encode(".png")))(here)
    outcome = infer("a.mp4", "-o", "out", "--mask")
    assert outcome.code == 0
    assert sorted(path.name for path in (here / "out").iterdir()) == ["1.png", "2.png"]
