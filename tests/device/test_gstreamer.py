"""Pipelines and network cameras for real: the system's OpenCV with GStreamer, as a Jetson has it, and an RTSP server.

.ci/run has the names of Debian's packages.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.conftest import Deployed, draw
from tests.device.environments import PURE, Device, gstreamer_python, linked
from tests.package.test_layout import built  # noqa: F401  # the wheel

SERVER = Path(__file__).with_name("rtsp_server.py")

SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
CAMERA = f"videotestsrc is-live=true ! video/x-raw,width=96,height=64,framerate=30/1 ! {SINK}"


@pytest.fixture(scope="module")
def jetson(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Device:  # noqa: F811
    """The core and ONNX Runtime beside the system's own NumPy and OpenCV."""
    python = gstreamer_python()
    if python is None:
        pytest.skip("no OpenCV with GStreamer on this system: apt install python3-opencv")
    (wheel,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("jetson") / "venv"
    return linked(folder, wheel, (*PURE, "onnxruntime"), python, system=("numpy",))


@contextmanager
def rtsp_server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its address, for user `me` with the password `secret`, and its process."""
    line = ["/usr/bin/python3", str(SERVER)]
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        port = server.stdout.readline().strip()
        if not port:
            pytest.skip(f"no RTSP server on this system: {server.stderr.read().splitlines()[-1]}")
        yield f"rtsp://me:secret@127.0.0.1:{port}/street", server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with rtsp_server() as (address, _):
        yield address


@pytest.fixture
def infer(jetson: Device, deeplab: Deployed, tmp_path: Path) -> Callable[..., Any]:
    """`kd-deploy infer` on such a device: what it printed, or the line of its refusal."""

    def command(*arguments: object) -> Any:
        done = jetson.run("kd-deploy", "infer", deeplab.bundle, *arguments, "--json", cwd=tmp_path)
        if done.returncode == 0:
            return json.loads(done.stdout)
        assert done.returncode == 1, done.stderr
        return done.stderr.splitlines()[-1]

    return command


def waiting(seconds: float = 60) -> Iterator[None]:
    """Again and again, ten times a second, for no longer than that."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        yield
        time.sleep(0.1)


def frames_of(file: Path) -> int:
    video = cv2.VideoCapture(str(file))
    count = 0
    while video.read()[0]:
        count += 1
    return count


def test_a_live_pipeline(infer: Callable[..., Any], tmp_path: Path) -> None:
    said = infer(CAMERA, "-o", "out.mp4", "--frames", 30)
    assert (said["frames"], said["live"], said["size"]) == (30, True, [64, 96])
    assert 30 <= frames_of(tmp_path / "out.mp4") <= 31 + said["dropped"]


def test_a_pipeline_that_reads_a_file_gives_every_frame(infer: Callable[..., Any], tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    for number in range(40):
        video.write(draw(number, (64, 96))[0])
    video.release()
    decode = "avidemux ! jpegdec ! videoconvert ! video/x-raw,format=BGR"
    said = infer(f"filesrc location=in.avi ! {decode} ! appsink sync=false", "-o", "out.mp4")
    assert (said["frames"], said["live"], said["failed"]) == (40, False, 0)
    assert frames_of(tmp_path / "out.mp4") == 40


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (
            "filesrc location=none.mp4 ! decodebin ! videoconvert ! appsink",
            "cannot start it (filesrc0: Resource not found); try",
        ),
        ("v4l2src device=/dev/video97 ! appsink", "cannot start it (v4l2src0: Cannot identify device"),
        ("nosuchelement ! appsink", "cannot start it; try"),
        (
            "nosuchelement ! videoconvert ! appsink",
            "gives no frame within 10 s; try",
        ),  # all that OpenCV tells
    ],
)
def test_a_pipeline_that_does_not_start_says_why(
    infer: Callable[..., Any], tmp_path: Path, pipeline: str, reason: str
) -> None:
    said = infer(pipeline, "-o", "out.mp4")
    assert said.startswith(f"error: {pipeline}: GStreamer {reason}")
    assert "gst-launch-1.0" in said
    assert list(tmp_path.iterdir()) == []


def test_rtsp_through_gstreamer_and_through_ffmpeg(
    infer: Callable[..., Any], address: str, deeplab: Deployed, kd: Any, tmp_path: Path
) -> None:
    place = address.replace("me:secret@", "")
    pipeline = (
        f"rtspsrc location={place} user-id=me user-pw=secret latency=100 ! rtpjpegdepay ! jpegdec ! {SINK}"
    )
    for said in (
        infer(pipeline, "-o", "pipeline.mp4", "--frames", 20),
        infer(address, "-o", "system.mp4", "--frames", 20),  # the system's FFmpeg
        json.loads(
            kd("infer", deeplab.bundle, address, "-o", tmp_path / "pip.mp4", "--frames", 20, "--json").out
        ),
    ):
        assert (said["frames"], said["live"], said["size"]) == (20, True, [64, 96])
        assert "secret" not in json.dumps(said)


def test_a_wrong_password_is_one_line_without_it(
    address: str, deeplab: Deployed, kd: Any, tmp_path: Path
) -> None:
    outcome = kd("infer", deeplab.bundle, address.replace("secret", "guess"), "-o", tmp_path / "out.mp4")
    assert outcome.code == 1
    assert re.match(r"rtsp://\*\*\*@127\.0\.0\.1:\d+/street: cannot be opened", outcome.error)


def cut_once_it_is_written(server: subprocess.Popen[str], folder: Path) -> None:
    for _ in waiting():
        if any(folder.glob(".out.*.mp4")):
            time.sleep(2)
            break
    server.kill()


@pytest.mark.parametrize("through", ["gstreamer", "ffmpeg"])
def test_a_stream_that_is_cut_leaves_a_whole_file_and_a_failure(
    through: str, infer: Callable[..., Any], deeplab: Deployed, kd: Any, tmp_path: Path
) -> None:
    with rtsp_server() as (address, server):
        cut = threading.Thread(target=cut_once_it_is_written, args=(server, tmp_path))
        cut.start()
        if through == "gstreamer":
            place = address.replace("me:secret@", "")
            pipeline = f"rtspsrc location={place} user-id=me user-pw=secret ! rtpjpegdepay ! jpegdec ! {SINK}"
            said = infer(pipeline, "-o", tmp_path / "out.mp4")
        else:
            outcome = kd("infer", deeplab.bundle, address, "-o", tmp_path / "out.mp4")
            assert outcome.code == 1
            said = outcome.err.splitlines()[-1]
        cut.join()
    assert "secret" not in said
    assert re.search(r"gave no frame for 5 s: ended; .*out\.mp4 holds what came before$", said)
    assert frames_of(tmp_path / "out.mp4") > 5


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A virtual screen's DISPLAY."""
    if not (shutil.which("Xvfb") and shutil.which("xdotool")):
        pytest.skip("no virtual screen on this system: apt install xvfb xdotool")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        yield f":{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="an X server's window")
def test_a_window_of_the_videos_size_ends_with_q(
    screen: str, address: str, deeplab: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", screen)
    line = [sys.executable, "-m", "kd_deploy", "infer", str(deeplab.bundle), address, "--show", "--json"]
    shown = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        window = _window(shown)
        size = subprocess.run(["xdotool", "getwindowgeometry", window], capture_output=True, text=True).stdout
        for _ in waiting():
            if shown.poll() is not None:
                break
            subprocess.run(["xdotool", "key", "--window", window, "q"], capture_output=True)
        out, errors = shown.communicate(timeout=60)
    finally:
        shown.kill()
    assert shown.returncode == 0, errors
    assert json.loads(out)["frames"] > 0
    assert "Qt" not in errors
    assert re.search(r"Geometry: 96x\d+", size), size  # the picture's width, a legend below it


def _window(shown: subprocess.Popen[str]) -> str:
    """The number of the window once it has a picture's size."""
    for _ in waiting():
        if shown.poll() is not None:
            break
        found = subprocess.run(
            ["xdotool", "search", "--name", "^kd-deploy: "], capture_output=True, text=True
        )
        for window in found.stdout.split():
            name = ["xdotool", "getwindowgeometry", window]
            if "Geometry: 96x" in subprocess.run(name, capture_output=True, text=True).stdout:
                return window
    shown.kill()
    raise AssertionError(shown.communicate()[1])
