"""`kd-deploy infer`: sources, the screen, what is said, and how it is ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import pytest

from kd_deploy.cli.infer import _end_at_a_signal
from kd_deploy.runtime.video import read_video
from kd_deploy.runtime.video.live import LiveVideo
from tests.kd_deploy.cli.conftest import start
from tests.runtime.video.clips import Camera, damage, grey, write_moving

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    """What OpenCV opens as any camera."""
    camera = Camera(grey(20), grey(40), grey(60))
    monkeypatch.setattr("kd_deploy.runtime.video.open._capture", lambda _: camera)
    return camera


def test_neither_output_nor_screen_is_2(deeplab: Any, video: Path, kd: Any) -> None:
    outcome = kd("infer", deeplab.bundle, video)
    assert (outcome.code, outcome.out) == (2, "")
    assert "-o OUT, or pass --show" in outcome.err


def test_no_screen_is_3_before_any_work(deeplab: Any, kd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("kd_deploy.runtime.video.window.sys.platform", "linux")
    outcome = kd("infer", deeplab.bundle / "gone", "clip.mp4", "--show")
    assert outcome.code == 3
    assert outcome.error.startswith(("display: DISPLAY is not set", "opencv: this build (headless)"))


def test_a_pipeline_without_gstreamer_is_3_or_falls_back(
    deeplab: Any, video: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: False)
    outcome = kd("infer", deeplab.bundle, "nvarguscamerasrc ! appsink", "-o", tmp_path / "out.mp4")
    assert outcome.code == 3
    assert "python3-opencv" in outcome.error

    pipeline = f'filesrc location="{video}" ! decodebin ! appsink'
    outcome = kd("infer", deeplab.bundle, pipeline, "-o", tmp_path / "out.mp4")
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"{video}: opened without the rest of the pipeline")
    assert "7 frames" in outcome.out


def test_no_password_is_printed(deeplab: Any, tmp_path: Path, kd: Any) -> None:
    outcome = kd("infer", deeplab.bundle, "rtsp://me:secret@127.0.0.1:1/s", "-o", tmp_path / "out.mp4")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1].startswith("error: rtsp://***@127.0.0.1:1/s: cannot be opened")
    assert "secret" not in outcome.err


def test_corrupt_and_missing_frames_are_one_line(deeplab: Any, tmp_path: Path) -> None:
    """In a process of its own: FFmpeg reads how much it may print once, before the first video."""
    clip = damage(write_moving(tmp_path / "clip.mp4", 40))
    process = start("infer", deeplab.bundle, clip, "-o", tmp_path / "out.mp4", "--workers", 2, "--json")
    out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert report["workers"] == 2
    assert report["corrupt"] == report["failed"] == 40 - report["frames"] > 0
    assert err.splitlines() == [
        f"{clip}: {report['failed']} frames could not be decoded, {report['corrupt']} of them in the middle; "
        "it announced 40"
    ]


def test_letterbox_and_a_limit(deeplab: Any, video: Path, tmp_path: Path, kd: Any) -> None:
    options = ("--fit", "letterbox", "--frames", 3, "--json")
    report = json.loads(kd("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4", *options).out)
    assert (report["fit"], report["frames"], report["size"]) == ("letterbox", 3, [64, 96])


def test_a_camera_says_what_it_dropped(deeplab: Any, camera: Camera, tmp_path: Path, kd: Any) -> None:
    outcome = kd("infer", deeplab.bundle, "0", "-o", tmp_path / "out.mp4", "--frames", 1)
    assert outcome.code == 0
    assert "1 frames" in outcome.out
    assert "live source in, file out" in outcome.out
    assert " dropped; latency p50 " in outcome.out
    assert camera.released


def test_ctrl_c_on_a_camera_prints_the_summary_and_is_130(
    deeplab: Any, camera: Camera, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, done: int, total: int | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kd_deploy.progress.Progress.advance", interrupt)
    outcome = kd("infer", deeplab.bundle, "0", "-o", tmp_path / "out.mp4")
    assert (outcome.code, outcome.err.split()) == (130, ["interrupted"])
    assert "1 frames" in outcome.out
    with read_video(tmp_path / "out.mp4") as written:
        assert len(list(written)) >= 1


@pytest.mark.parametrize("as_json", [False, True])
def test_a_camera_that_falls_silent_is_1_after_the_summary(
    deeplab: Any, camera: Camera, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(
        "kd_deploy.runtime.video.open.LiveVideo", lambda name, capture: LiveVideo(name, capture, 0.2)
    )
    output = tmp_path / "out.mp4"
    outcome = kd("infer", deeplab.bundle, "0", "-o", output, *(["--json"] if as_json else []))
    ended = "camera 0: gave no frame for 0.2 s: ended"
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        f"error: {ended}; check that the source is on; {output} holds what came before"
    ]
    if as_json:
        assert json.loads(outcome.out)["ended"] == ended
    else:
        assert outcome.out.startswith(f"{output}: ")
    with read_video(output) as written:
        assert len(list(written)) >= 1


@pytest.mark.parametrize("options", [("--workers", 4), ("--workers", 1), ("--hud",), ("--no-hud",)])
@pytest.mark.parametrize("name", ["a.png", "folder", "drive.mp4"])
def test_what_only_videos_have_is_refused_for_pictures_before_any_work(
    tmp_path: Path, kd: Any, name: str, options: tuple[Any, ...]
) -> None:
    for folder in ("folder", "drive.mp4"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    outcome = kd("infer", tmp_path / "no_bundle", tmp_path / name, "-o", tmp_path / "out", *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.error.startswith(f"{tmp_path / name}: only a video has a --hud or takes --workers")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_only_the_first_signal_interrupts(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    tidied = False
    with pytest.raises(KeyboardInterrupt), _end_at_a_signal():
        try:
            signal.raise_signal(number)
        finally:
            for again in (signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(again)
            tidied = True
    assert tidied
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


@UNIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_a_signal_finishes_the_file(deeplab: Any, tmp_path: Path, number: int) -> None:
    """A video too long to be done, in a process of its own."""
    clip, output = write_moving(tmp_path / "clip.mp4", 3000), tmp_path / "out.mp4"
    process = start("infer", deeplab.bundle, clip, "-o", output)
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 50_000 for file in tmp_path.glob(".out.*.mp4")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.split()) == (130, "", ["interrupted"])
    with read_video(output) as written:
        frames = written.info.frames
        assert frames is not None
        assert 0 < frames < 3000
        assert len(list(written)) == frames
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_a_window_shows_every_frame(
    deeplab: Any, video: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenCV is asked to show, with no screen behind it."""
    shown: list[Any] = []
    monkeypatch.setattr("kd_deploy.runtime.video.window.check_window", lambda: None)
    for name in ("namedWindow", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 5 else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    outcome = kd("infer", deeplab.bundle, video, "--show")
    assert outcome.code == 0
    assert len(shown) == 5
    assert outcome.out.startswith(f"{video}: 5 frames")
    assert "file in, screen out" in outcome.out
