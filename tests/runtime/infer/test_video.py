"""Videos from anywhere through several models, onto the screen and into files."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.infer import Interrupted, infer
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.video import read_video, write_video
from kd_deploy.runtime.video.live import LiveVideo
from tests.runtime.video.clips import Camera, damage, grey, write_moving

CLASSES: Any = {"class_names": ("dark", "bright"), "palette": np.array([[0, 0, 200], [200, 0, 0]], np.uint8)}
MASK: Any = {"view": "mask", **CLASSES}
LEVELS = 12


class Level(Model):
    """The class is the frame's brightness in steps of 20; takes a while that differs."""

    def __init__(self, fails_at: int = -1) -> None:
        self.size = None
        self.threads: set[int] = set()
        self._fails_at, self._delays = fails_at, random.Random(0)

    def describe(self) -> Description:
        return Description("fake", "fp32", "cpu", {})

    def _close(self) -> None:
        pass

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.threads.add(threading.get_ident())
        time.sleep(self._delays.random() / 200)
        level = round(float(frames.mean()) / 20)
        if level == self._fails_at:
            raise ValueError(f"frame {level}")
        return np.full(frames.shape[:3], level, np.uint8)


class Screen:
    """Keeps what is shown, until it has enough."""

    def __init__(self, enough: int = 1000) -> None:
        self.shown: list[NDArray[np.uint8]] = []
        self._enough = enough

    def show(self, picture: NDArray[np.uint8]) -> bool:
        self.shown.append(picture.copy())
        return len(self.shown) < self._enough


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    with write_video(tmp_path / "levels.mp4", 25) as sink:
        for number in range(LEVELS):
            sink.write(grey(20 * number))
    return tmp_path / "levels.mp4"


@pytest.fixture
def palette() -> Any:
    greys = np.repeat(np.arange(0, 20 * LEVELS, 20, dtype=np.uint8)[:, None], 3, axis=1)
    return {"view": "mask", "class_names": [str(n) for n in range(LEVELS)], "palette": greys}


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Camera:
    """What OpenCV opens as any camera."""
    camera = Camera(grey(20))
    monkeypatch.setattr("kd_deploy.runtime.video.open._capture", lambda _: camera)
    return camera


def brightness(path: Path) -> list[float]:
    with read_video(path) as video:
        return [float(frame.mean()) for frame in video]


@pytest.mark.parametrize("workers", [1, 3])
def test_several_models_keep_the_order(tmp_path: Path, levels: Path, palette: Any, workers: int) -> None:
    models = [Level() for _ in range(workers)]
    report = infer(models, levels, tmp_path / "out.mp4", **palette)
    assert brightness(tmp_path / "out.mp4") == pytest.approx(range(0, 20 * LEVELS, 20), abs=6)
    assert [len(model.threads) for model in models] == [1] * workers
    assert (report.workers, report.frames, report.live, report.dropped) == (workers, LEVELS, False, 0)
    assert report.latency_p50_ms is not None
    assert report.latency_p99_ms is not None
    assert 0 < report.latency_p50_ms <= report.latency_p99_ms
    assert json.loads(json.dumps(report.to_json()))["workers"] == workers


def test_a_model_that_fails_among_several_stops_all(tmp_path: Path, levels: Path, palette: Any) -> None:
    threads = threading.active_count()
    with pytest.raises(ValueError, match="frame 5"):
        infer([Level(5), Level(5)], levels, tmp_path / "out.mp4", **palette)
    assert not (tmp_path / "out.mp4").exists()
    assert threading.active_count() == threads


def test_corrupt_frames_are_told_from_missing_ones(tmp_path: Path) -> None:
    clip = damage(write_moving(tmp_path / "clip.mp4"))
    report = infer(Level(), clip, tmp_path / "out.mp4", **MASK)
    assert report.corrupt == report.failed == 60 - report.frames > 0


def test_a_limit_ends_it_and_nothing_counts_as_missing(tmp_path: Path, levels: Path, palette: Any) -> None:
    calls: list[tuple[int, int | None]] = []
    progress = lambda *call: calls.append(call)  # noqa: E731
    report = infer(Level(), levels, tmp_path / "out.mp4", frames=5, progress=progress, **palette)
    assert (report.frames, report.failed) == (5, 0)
    assert len(brightness(tmp_path / "out.mp4")) == 5
    assert calls == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("hud", "on_screen", "in_file"), [("screen", 1, 0), ("everywhere", 1, 1), ("nowhere", 0, 0)]
)
def test_the_hud_stands_where_it_is_asked_for(tmp_path: Path, hud: Any, on_screen: int, in_file: int) -> None:
    with write_video(tmp_path / "black.mp4", 25) as sink:
        for _ in range(3):
            sink.write(grey(0, (120, 320)))
    screen = Screen()
    palette: Any = {"class_names": ["black"], "palette": np.zeros((1, 3), np.uint8), "view": "mask"}
    infer(Level(), tmp_path / "black.mp4", tmp_path / "out.mp4", hud=hud, screen=screen, **palette)
    with read_video(tmp_path / "out.mp4") as video:
        written = list(video)
    for frames, there in ((screen.shown, on_screen), (written, in_file)):
        corner = frames[-1][:30, 160:]
        assert (corner.max() > 150) == there
        assert frames[-1][60:].max() < 20


def test_without_an_output_it_is_only_shown_until_the_user_has_enough(tmp_path: Path, levels: Path) -> None:
    before, screen = set(tmp_path.iterdir()), Screen(enough=4)
    report = infer(Level(), levels, None, screen=screen, **MASK)
    assert len(screen.shown) == report.frames == 4
    assert (report.output, report.codec, report.boundary) == (None, None, "video")
    assert set(tmp_path.iterdir()) == before


def test_a_live_file_holds_the_newest_frames_in_order(tmp_path: Path, camera: Camera, palette: Any) -> None:
    def feed(done: int, total: int | None) -> None:
        assert total == 8
        time.sleep(0.045)  # longer than a frame of the file, so that each is written
        for _ in range(4):
            camera.waiting.put(grey(20 * (done + 1)))

    report = infer(Level(), "0", tmp_path / "out.mp4", frames=8, progress=feed, **palette)
    assert (report.live, report.frames, report.source) == (True, 8, "camera 0")
    assert report.dropped > 0
    shown = brightness(tmp_path / "out.mp4")
    assert shown == sorted(shown)
    assert shown[-1] > shown[0]
    assert camera.released


def test_ctrl_c_is_how_a_live_source_ends(tmp_path: Path, camera: Camera, palette: Any) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"an older recording")

    def interrupt(done: int, total: int | None) -> None:
        camera.waiting.put(grey(40))
        if done == 4:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(Interrupted) as caught:
        infer(Level(), "0", output, progress=interrupt, **palette)
    assert caught.value.report.frames == 4
    assert brightness(output)
    assert threading.active_count() == threads
    assert camera.released


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows has no pthread_kill")
def test_ctrl_c_while_a_live_source_is_silent_ends_it_at_once(
    tmp_path: Path, camera: Camera, palette: Any
) -> None:
    """The model's thread waits for a frame that does not come."""
    main = threading.main_thread().ident
    assert main is not None
    timers: list[threading.Timer] = []

    def silent(done: int, total: int | None) -> None:
        timers.append(threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)))
        timers[-1].start()

    with pytest.raises(Interrupted) as caught:
        infer(Level(), "0", tmp_path / "out.mp4", progress=silent, **palette)
    assert (caught.value.report.frames, caught.value.report.ended) == (1, None)


def test_a_camera_that_is_unplugged_ends_with_its_reason(
    tmp_path: Path, camera: Camera, palette: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kd_deploy.runtime.video.open.LiveVideo", lambda name, capture: LiveVideo(name, capture, 0.2)
    )
    report = infer(Level(), "0", tmp_path / "out.mp4", **palette)
    assert report.ended == "camera 0: gave no frame for 0.2 s: ended"
    assert len(brightness(tmp_path / "out.mp4")) == 1


def test_what_ends_by_its_limit_or_its_window_did_not_fail(
    tmp_path: Path, camera: Camera, palette: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the camera is silent by then."""
    monkeypatch.setattr(
        "kd_deploy.runtime.video.open.LiveVideo", lambda name, capture: LiveVideo(name, capture, 0.05)
    )

    class Slow(Screen):
        def show(self, picture: NDArray[np.uint8]) -> bool:
            time.sleep(0.3)
            return super().show(picture)

    for options in ({"screen": Slow(), "frames": 1}, {"screen": Slow(enough=1)}):
        camera.waiting.put(grey(20))
        report = infer(Level(), "0", None, **options, **palette)
        assert (report.frames, report.ended) == (1, None)


def test_pictures_are_neither_shown_nor_cut(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(1))
    for options in ({"screen": Screen()}, {"frames": 3}):
        with pytest.raises(UserError, match=r"a\.png: only a video"):
            infer(Level(), tmp_path / "a.png", tmp_path / "b.png", **options, **MASK)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"a\.png: only a video"):
        infer(Level(), tmp_path / "a.png", None, **MASK)
