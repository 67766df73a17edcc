"""Video files in, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import Video, VideoInfo, read_video
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
