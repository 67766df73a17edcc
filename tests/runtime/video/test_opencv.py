"""What OpenCV prints, and what it says that it can do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from kd_deploy.runtime.video import write_video
from kd_deploy.runtime.video.opencv import build_options, has_gstreamer, has_windows
from tests.runtime.doctor.test_libraries import JETSON
from tests.runtime.video.clips import grey, write_avi

HEADLESS = """
  GUI:                           NONE

  Video I/O:
    FFMPEG:                      YES
    GStreamer:                   NO
"""


def test_opencv_and_ffmpeg_stay_silent(tmp_path: Path) -> None:
    """In a process of its own: FFmpeg reads its level once, and prints past sys.stderr."""
    write_avi(tmp_path / "cut.avi", 20)
    content = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    for name, damaged in {"text.mp4": b"hello" * 100, "head.avi": content[:1000]}.items():
        (tmp_path / name).write_bytes(damaged)
    script = f"""
from pathlib import Path
import kd_deploy.runtime.video as v
from kd_deploy.runtime.video import writer
from kd_deploy.runtime.errors import UserError
folder = Path({str(tmp_path)!r})
for name in ("text.mp4", "head.avi"):
    try:
        with v.read_video(folder / name): pass
    except UserError as error: print(error)
with v.read_video(folder / "cut.avi") as video: frames = list(video)
writer.CODECS = {{".mp4": "avc1"}}
try:
    with v.write_video(folder / "out.mp4", 25) as sink: sink.write(frames[0])
except UserError as error: print(error)
else: print("this OpenCV has an H.264 encoder")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


def test_opencv_gets_its_log_level_back(tmp_path: Path) -> None:
    before = cv2.utils.logging.getLogLevel()
    with write_video(tmp_path / "clip.mp4", 25) as sink:
        assert cv2.utils.logging.getLogLevel() != before
        sink.write(grey(1))
    assert cv2.utils.logging.getLogLevel() == before


def test_build_information_tells_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of a Jetson's OpenCV and of pip's headless one."""
    for text, has in ((JETSON, True), (HEADLESS, False)):
        monkeypatch.setattr(cv2, "getBuildInformation", lambda text=text: text)
        assert (has_gstreamer(), has_windows()) == (has, has)


def test_what_an_opencv_was_built_with() -> None:
    assert build_options(JETSON) == {
        "gui": "GTK3",
        "ffmpeg": "YES",
        "gstreamer": "YES (1.20.3)",
        "v4l": "YES (linux/videodev2.h)",
    }
    assert build_options(HEADLESS) == {"gui": "", "ffmpeg": "YES", "gstreamer": "", "v4l": ""}
    assert build_options(cv2.getBuildInformation())["ffmpeg"] == "YES"
