"""Which backend opens which source."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import open_video
from kd_deploy.runtime.video.live import LiveVideo
from kd_deploy.runtime.video.source import Source
from tests.runtime.video.clips import Camera, grey, write_moving

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class Handler(SimpleHTTPRequestHandler):
    """Files, and at /live what a network camera sends: JPEG pictures without an end, here 40."""

    def do_GET(self) -> None:
        if self.path != "/live":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with suppress(ConnectionError):
            for number in range(40):
                jpeg = cv2.imencode(".jpg", grey(5 * number))[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
                self.wfile.write(b"Content-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
                time.sleep(0.005)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server over `tmp_path`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> tuple[Camera, list[Any]]:
    """What OpenCV opens, and how it was asked."""
    camera, asked = Camera(grey(1), grey(2)), []

    def capture(*arguments: Any) -> Camera:
        asked.extend([*arguments, os.environ.get(OPTIONS)])
        return camera

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    return camera, asked


def test_a_file_on_a_web_server_is_no_live_source(tmp_path: Path, server: str) -> None:
    write_moving(tmp_path / "clip.webm", 12)
    with open_video(f"{server}/clip.webm") as video:
        assert len(list(video)) == 12
    assert (video.live, video.failed, video.info.frames) == (False, 0, 12)


def test_a_network_camera_is_live(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the FFmpeg of OpenCV: a reader that is slower than the source drops frames, and every one is counted."""
    monkeypatch.setattr("kd_deploy.runtime.video.open.LiveVideo", partial(LiveVideo, patience=0.5))
    levels = []
    with open_video(f"{server}/live") as video:
        for frame in video:
            levels.append(frame.mean())
            time.sleep(0.02)
    assert (video.live, video.info.frames) == (True, None)
    assert levels == sorted(levels)
    assert video.decoded == len(levels) >= 2
    assert video.dropped > 0
    assert video.decoded + video.dropped == 40
    assert video.ended is not None


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_an_address_that_nobody_answers_is_one_line_without_its_password(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(
            UserError, match=rf"{scheme}://\*\*\*@127\.0\.0\.1:{port}/s: cannot be opened"
        ) as caught,
        open_video(f"{scheme}://me:secret@127.0.0.1:{port}/s"),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_a_camera_that_is_not_there_is_one_line() -> None:
    with (
        pytest.raises(UserError, match=r"camera /dev/video97: cannot be opened; check"),
        open_video("/dev/video97"),
    ):
        pass


def test_a_camera_is_live_and_released(camera: Any) -> None:
    capture, asked = camera
    with open_video("1") as video:
        assert next(iter(video)).shape == (64, 96, 3)
        assert video.live
        assert not capture.released
    assert asked[0] == 1
    assert capture.released


def test_a_source_that_gives_nothing_is_released(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, _ = camera
    capture.waiting.get(), capture.waiting.get()
    monkeypatch.setattr("kd_deploy.runtime.video.open.LiveVideo", partial(LiveVideo, patience=0.1))
    with pytest.raises(UserError, match="camera 1: gave no frame"), open_video("1"):
        pass
    assert capture.released


def test_a_pipeline_that_never_starts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: hang.wait(10))
    monkeypatch.setattr("kd_deploy.runtime.video.open.OPEN_SECONDS", -0.9)
    with (
        pytest.raises(
            UserError, match=r"^none ! appsink: GStreamer gives no frame within .*; try it with gst"
        ),
        open_video(Source("pipeline", "none ! appsink", "none ! appsink")),
    ):
        pass
    hang.set()


def test_what_opening_a_pipeline_raises_comes_out() -> None:
    name = "filesrc location=\udcff ! appsink"  # bytes on the command line that are no UTF-8
    with pytest.raises(UserError, match="is not UTF-8"), open_video(Source("pipeline", name, name)):
        pass


@pytest.mark.parametrize(("version", "there"), [("4.6.0", False), ("4.7.0", True), ("5.0.0-dev", True)])
def test_a_pipeline_gets_timeouts_where_opencv_takes_them(
    camera: Any, monkeypatch: pytest.MonkeyPatch, version: str, there: bool
) -> None:
    monkeypatch.setattr(cv2, "__version__", version)
    with open_video(Source("pipeline", "v4l2src ! appsink", "v4l2src ! appsink")):
        pass
    assert bool(camera[1][2]) is there


def test_an_address_is_opened_over_tcp_with_timeouts(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = camera
    monkeypatch.delenv(OPTIONS, raising=False)
    with open_video("rtspt://u:p@h/s") as video:
        assert video.live
    target, _, timeouts, options = asked
    assert (target, options) == ("rtsp://u:p@h/s", "rtsp_transport;tcp")
    assert dict(zip(timeouts[::2], timeouts[1::2], strict=True)) == {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: 10_000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: 5_000,
    }
    assert OPTIONS not in os.environ


def test_the_users_own_options_win(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS, "rtsp_transport;udp")
    with open_video("rtsp://h/s"):
        pass
    assert camera[1][-1] == os.environ[OPTIONS] == "rtsp_transport;udp"


@pytest.mark.parametrize(
    ("pipeline", "live"), [("v4l2src ! appsink", True), ("filesrc location=a ! appsink", False)]
)
def test_a_pipeline_is_gstreamers_and_live_unless_it_reads_a_file(
    camera: Any, pipeline: str, live: bool
) -> None:
    with open_video(Source("pipeline", pipeline, pipeline)) as video:
        assert video.live is live
    assert camera[1][:2] == [pipeline, cv2.CAP_GSTREAMER]
