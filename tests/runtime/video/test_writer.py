"""Video files out."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import CODECS, VideoInfo, VideoWriter, read_video, write_video
from kd_deploy.runtime.video.writer import Pace
from tests.runtime.video.clips import files, grey, write


@pytest.mark.parametrize("suffix", CODECS)
def test_frames_size_rate_and_order_survive_the_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"clip{suffix}"
    with write_video(path, 29.97) as sink:
        for level in range(0, 250, 25):
            sink.write(grey(level))
    assert (sink.frames, sink.size, sink.codec) == (10, (64, 96), CODECS[suffix])
    with read_video(path) as video:
        levels = [frame.mean() for frame in video]
    assert video.info == VideoInfo(96, 64, pytest.approx(29.97, abs=0.01), 10)
    assert (video.decoded, video.failed) == (10, 0)
    assert levels == pytest.approx(range(0, 250, 25), abs=4)


def test_an_odd_frame_gets_its_last_row_and_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    frame = grey(40, (63, 97))
    frame[:, 48:] = 200
    with write_video(path, 10) as sink:
        sink.write(frame)
    with read_video(path) as video:
        (decoded,) = video
    assert decoded.shape == (64, 98, 3)
    assert decoded[:, -2:].mean() == pytest.approx(200, abs=6)
    assert decoded[-2:, :40].mean() == pytest.approx(40, abs=6)


def test_no_codec_at_all_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.writer.CODECS", {".mp4": "none"})
    with pytest.raises(UserError, match=r"clip\.mp4: OpenCV cannot write a 96x64 none video"):
        write(tmp_path / "clip.mp4", [grey(7)])
    assert files(tmp_path) == {}


@pytest.mark.parametrize("failure", [UserError("no"), RuntimeError("bug")])
def test_after_a_failure_the_old_file_stands(tmp_path: Path, failure: Exception) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    with pytest.raises(type(failure)):
        write(path, [grey(1)], then=failure)
    assert files(tmp_path) == {"clip.mp4": b"old"}


def test_after_ctrl_c_the_frames_so_far_are_a_complete_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "clip.mp4", [grey(1), grey(2)], then=KeyboardInterrupt())
    with read_video(tmp_path / "clip.mp4") as video:
        assert len(list(video)) == 2
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "none.mp4", [], then=KeyboardInterrupt())
    assert list(files(tmp_path)) == ["clip.mp4"]
    whole = files(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "clip.mp4", [grey(1)], then=KeyboardInterrupt())
    assert files(tmp_path) == whole  # a part takes no whole file's place


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_noticed(tmp_path: Path, suffix: str, share: float) -> None:
    """At any place: a WebM file opens, and announces its whole length, wherever it is cut."""
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"clip{suffix}"
    write(whole, [noise] * 30)
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * whole.stat().st_size), hard))
    try:
        with pytest.raises(UserError, match="free space"):
            write(path, [noise] * 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    whole.unlink()
    assert files(tmp_path) == {path.name: b"old"}


@pytest.mark.parametrize("rate", [0.5, 12.3457, 23.976, 29.97, 59.94, 100.0])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("count", [1, 2, 61])
def test_the_last_frame_is_found_at_every_rate(tmp_path: Path, suffix: str, rate: float, count: int) -> None:
    with write_video(tmp_path / f"clip{suffix}", rate) as sink:
        for number in range(count):
            sink.write(grey(number))
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("step", ["_close", "_verify"])
def test_ctrl_c_while_a_file_is_finished_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    done = getattr(VideoWriter, step)

    def interrupted(writer: VideoWriter) -> None:
        signal.raise_signal(signal.SIGINT)
        done(writer)

    monkeypatch.setattr(VideoWriter, step, interrupted)
    (tmp_path / "clip.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "clip.mp4", [grey(1), grey(2)])
    with read_video(tmp_path / "clip.mp4") as video:
        assert len(list(video)) == 2


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip\.txt: .*\.mp4"):
        write(tmp_path / "clip.txt", [grey(1)])
    with pytest.raises(UserError, match="no frame"):
        write(tmp_path / "none.mp4", [])
    with pytest.raises(UserError, match="frame 1 is 32x32, the first was 96x64"):
        write(tmp_path / "two.mp4", [grey(1), grey(1, (32, 32))])
    assert files(tmp_path) == {}
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"folder\.mp4: cannot be written"):
        write(tmp_path / "folder.mp4", [grey(1)])
    assert [file.name for file in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize("rate", [60.0, 25.0, 24.0, 7.0])
def test_a_live_file_lasts_as_long_as_its_source(rate: float) -> None:
    """Whatever comes in, 25 frames a second go out, jitter of a third of a frame included."""
    pace, jitter = Pace(25), np.random.default_rng(0).uniform(-0.013, 0.013, 200)
    copies = [pace.copies(100 + number / rate + jitter[number]) for number in range(200)]
    assert copies[0] == 1
    assert sum(copies) == pytest.approx(199 / rate * 25 + 1, abs=1)
    assert max(copies) <= 25 / rate + 2
    if rate == 25:
        assert copies == [1] * 200
