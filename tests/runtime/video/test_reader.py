"""Video files in, whole and damaged."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import Video, VideoInfo, read_video
from kd_deploy.runtime.video.live import LiveVideo
from tests.runtime.video.clips import Camera, damage, grey, write, write_avi, write_moving


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    good = tmp_path / "good.mp4"
    write(good, [grey(9)])
    contents = {"text.mp4": b"hello", "empty.mp4": b"", "no_moov.mp4": good.read_bytes()[:400]}
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: cannot be decoded"), read_video(path):
            pass
    with pytest.raises(UserError, match=r"gone\.mp4: no such video"), read_video(tmp_path / "gone.mp4"):
        pass


def test_frames_that_a_cut_file_lacks_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    write_avi(path, 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with read_video(path) as video:
        decoded = len(list(video))
    assert 5 <= decoded <= 12
    assert video.info.frames == 20
    assert (video.decoded, video.failed) == (decoded, 20 - decoded)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_corrupt_frames_in_the_middle_are_skipped_and_counted(tmp_path: Path, suffix: str) -> None:
    path = damage(write_moving(tmp_path / f"clip{suffix}"))
    with read_video(path) as video:
        decoded = len(list(video))
    assert 40 < decoded < 60
    assert (video.info.frames, video.failed, video.corrupt) == (60, 60 - decoded, 60 - decoded)


def with_sound(path: Path, clip: Path, seconds: float) -> Path:
    """The video of `clip` beside a longer sound, in another container."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg on this machine to write sound with")
    sound = ["-f", "lavfi", "-i", f"sine=duration={seconds}", "-c:v", "copy", "-map", "0:v", "-map", "1:a"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(clip), *sound, str(path)], check=True)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
def test_sound_that_goes_on_is_no_damage(tmp_path: Path, suffix: str) -> None:
    clip = write_moving(tmp_path / f"clip{'.webm' if suffix == '.webm' else '.mp4'}", 50)
    with read_video(with_sound(tmp_path / f"sound{suffix}", clip, 4)) as video:
        assert len(list(video)) == 50
    assert (video.failed, video.corrupt) == (0, 0)
    assert (video.shorter > 40) == (suffix != ".mp4")  # which counts its frames


class Timed(Camera):
    """A capture of grey frames at these seconds, of a container that announces `announced` frames at 25 a second."""

    def __init__(self, seconds: Sequence[float], announced: int) -> None:
        super().__init__(*(grey(1) for _ in seconds))
        self._seconds, self._announced = iter(seconds), announced

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return 1000 * next(self._seconds)
        return self._announced if key == cv2.CAP_PROP_FRAME_COUNT else super().get(key)


@pytest.mark.parametrize(
    ("seconds", "announced", "expected"),
    [
        ([number / 12.5 for number in range(50)], 100, (0, 0, 0)),  # half the announced rate
        ([number / 25 for number in range(50)], 100, (0, 0, 50)),  # cut, or a longer sound
        ([number / 25 for number in range(60) if number not in (7, 8, 30)], 60, (3, 3, 0)),
        (np.cumsum(np.linspace(0.01, 0.5, 50)).tolist(), 300, (0, 0, 0)),  # a rate that varies
    ],
)
def test_what_an_estimated_length_tells(
    seconds: Sequence[float], announced: int, expected: tuple[int, int, int]
) -> None:
    video = Video("clip.mkv", Timed(seconds, announced))
    assert len(list(video)) == len(seconds)
    assert (video.failed, video.corrupt, video.shorter) == expected


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((96, 96), np.uint8),  # NV12 and I420 of 64 rows
        np.zeros((64, 96, 4), np.uint8),  # BGRx
        np.zeros((64, 96, 2), np.uint8),  # YUY2
        np.zeros((64, 96), np.uint16),
    ],
)
def test_a_pipeline_that_gives_no_bgr_is_one_line(picture: Any) -> None:
    class Pipeline(Camera):
        def get(self, key: int) -> float:
            return 64 if key == cv2.CAP_PROP_FRAME_HEIGHT else super().get(key)

    for kind in (Video, LiveVideo):
        with pytest.raises(
            UserError, match=r"^pipeline: gives uint.* and no BGR; end the pipeline in: videoconv"
        ):
            kind("pipeline", Pipeline(picture))
        assert next(iter(kind("pipeline", Pipeline(grey(3)[..., 0])))).shape == (64, 96, 3)


def test_reading_goes_on_behind_a_read_that_fails() -> None:
    video = Video("clip", Camera(None, grey(1), grey(2), None, None, grey(3)))
    assert [frame.mean() for frame in video] == [1, 2, 3]
    assert (video.decoded, video.failed, video.corrupt) == (3, 0, 3)


def test_a_whole_file_lacks_nothing_and_one_left_early_neither(tmp_path: Path) -> None:
    path = write_moving(tmp_path / "clip.mp4", 20)
    with read_video(path) as video:
        assert len(list(video)) == 20
    assert (video.failed, video.corrupt, video.dropped, video.live) == (0, 0, 0, False)
    with read_video(path) as video:
        next(iter(video))
    assert video.failed == 0


@pytest.mark.parametrize("fps", [0.0, float("nan"), -1.0, 90000.0])
def test_a_rate_that_no_camera_has_becomes_25(fps: float) -> None:
    assert Video("clip", Camera(grey(1), fps=fps)).info == VideoInfo(96, 64, 25.0, None)
