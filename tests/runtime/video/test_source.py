"""What the name of a source means."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.video.source import mask_passwords, parse_source


@pytest.fixture
def no_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: False)


@pytest.mark.parametrize(
    ("text", "kind", "target", "name", "finite"),
    [
        ("0", "camera", "0", "camera 0", False),
        ("/dev/video1", "camera", "/dev/video1", "camera /dev/video1", False),
        ("./0", "path", "./0", "./0", True),
        ("a folder/clip.mp4", "path", "a folder/clip.mp4", "a folder/clip.mp4", True),
        ("rtsp://u:p@h/s", "url", "rtsp://u:p@h/s", "rtsp://***@h/s", False),
        ("rtspt://h:8554/s", "url", "rtsp://h:8554/s", "rtspt://h:8554/s", False),
        ("HTTP://h/clip.mp4", "url", "HTTP://h/clip.mp4", "HTTP://h/clip.mp4", False),
    ],
)
def test_paths_cameras_and_addresses(text: str, kind: str, target: str, name: str, finite: bool) -> None:
    source = parse_source(text)
    assert (source.kind, source.target, source.name, source.note) == (kind, target, name, None)
    assert source.finite is finite


def test_an_unknown_scheme_is_one_line() -> None:
    with pytest.raises(UserError, match=r"ftp://\*\*\*@h/clip\.mp4: no scheme that is known; .*rtsp"):
        parse_source("ftp://me:secret@h/clip.mp4")


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:secret@10.0.0.2:554/stream",
        "rtsp://admin:se/secret@cret@10.0.0.2/stream",
        "http://10.0.0.2/video?user=admin&password=secret&w=1",
        "rtspsrc location=rtsp://10.0.0.2/s user-id=admin user-pw=secret ! appsink",
        "rtspsrc location=rtsp://admin:secret@10.0.0.2/s ! rtph264depay ! appsink",
    ],
)
def test_no_password_is_in_a_name(text: str) -> None:
    masked = mask_passwords(text)
    assert "secret" not in masked
    assert "10.0.0.2" in masked
    assert mask_passwords("/data/me@home/clip.mp4") == "/data/me@home/clip.mp4"


@pytest.mark.usefixtures("no_gstreamer")
@pytest.mark.parametrize(
    ("pipeline", "kind", "target"),
    [
        ("filesrc location=a.mp4 ! decodebin ! appsink", "path", "a.mp4"),
        ('filesrc location="my clip.mp4" ! decodebin ! appsink', "path", "my clip.mp4"),
        ("rtspsrc latency=0 location=rtsp://u:p@h/s ! rtph264depay ! appsink", "url", "rtsp://u:p@h/s"),
        ("v4l2src device=/dev/video2 ! videoconvert ! appsink", "camera", "/dev/video2"),
        ("v4l2src ! videoconvert ! appsink", "camera", "/dev/video0"),
    ],
)
def test_without_gstreamer_a_plain_pipeline_falls_back_and_says_so(
    pipeline: str, kind: str, target: str
) -> None:
    source = parse_source(pipeline)
    assert (source.kind, source.target) == (kind, target)
    assert source.note is not None
    assert source.note.startswith(f"{source.name}: opened without the rest of the pipeline")
    assert "apt install python3-opencv" in source.note
    assert "u:p" not in source.note
    assert "\n" not in source.note


@pytest.mark.usefixtures("no_gstreamer")
@pytest.mark.parametrize(
    "pipeline", ["nvarguscamerasrc ! nvvidconv ! appsink", "filesrc ! decodebin ! appsink"]
)
def test_without_gstreamer_any_other_pipeline_is_3(pipeline: str) -> None:
    with pytest.raises(MissingComponentError, match=r"no GStreamer.*--system-site-packages") as caught:
        parse_source(pipeline)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_with_gstreamer_a_pipeline_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: True)
    live = parse_source("nvarguscamerasrc ! nvvidconv ! appsink drop=true")
    file = parse_source("filesrc location=a.mp4 ! decodebin ! appsink")
    assert (live.kind, live.finite, live.note) == ("pipeline", False, None)
    assert (file.kind, file.finite) == ("pipeline", True)
    with pytest.raises(UserError, match=r"end in an appsink.*drop=true max-buffers=1 sync=false"):
        parse_source("v4l2src ! autovideosink")


def test_a_folder_that_is_called_as_a_video_is_none(tmp_path: Path) -> None:
    (tmp_path / "drive.mp4").mkdir()
    assert not parse_source(str(tmp_path / "drive.mp4")).is_video
    assert parse_source(str(tmp_path / "gone.mp4")).is_video
