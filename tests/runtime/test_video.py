"""Video files in and out, and stages that overlap."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import CODECS, VideoInfo, VideoWriter, ahead, read_video, write_video


def grey(level: int, size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    return np.full((*size, 3), level, np.uint8)


def write(path: Path, frames: Iterable[NDArray[np.uint8]], then: BaseException | None = None) -> VideoWriter:
    """Write the frames at 25 frames/s, then raise `then`."""
    with write_video(path, 25) as sink:
        for frame in frames:
            sink.write(frame)
        if then is not None:
            raise then
    return sink


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write_avi(path: Path, frames: int) -> None:
    """Motion JPEG: its header announces the length, so a cut file still opens."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    for _ in range(frames):
        writer.write(noise)
    writer.release()


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
    monkeypatch.setattr("kd_deploy.runtime.video.CODECS", {".mp4": "none"})
    with pytest.raises(UserError, match=r"clip\.mp4: OpenCV cannot write a 96x64 none video"):
        write(tmp_path / "clip.mp4", [grey(7)])
    assert files(tmp_path) == {}


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
from kd_deploy.runtime.errors import UserError
folder = Path({str(tmp_path)!r})
for name in ("text.mp4", "head.avi"):
    try:
        with v.read_video(folder / name): pass
    except UserError as error: print(error)
with v.read_video(folder / "cut.avi") as video: frames = list(video)
v.CODECS = {{".mp4": "avc1"}}
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


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="free space"):
            write(path, [noise] * 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == {"clip.mp4": b"old"}


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


def test_stages_keep_the_order_and_end() -> None:
    with ahead(range(50)) as numbers, ahead(number * number for number in numbers) as squares:
        assert list(squares) == [number * number for number in range(50)]
    with ahead([]) as none:
        assert list(none) == []


def test_stages_work_at_the_same_time_and_ahead() -> None:
    """Each side waits for the other's progress: a stage that ran in the consumer's thread would block."""
    made = [threading.Event() for _ in range(4)]

    def source() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    with ahead(source(), depth=2) as numbers:
        assert next(numbers) == 0
        assert made[2].wait(5)
        assert not made[3].wait(0.05)  # bounded: nobody has taken 1
        assert list(numbers) == [1, 2, 3]


def fails_at(limit: int, items: Iterable[int]) -> Iterator[int]:
    for item in items:
        if item == limit:
            raise ValueError(f"item {item}")
        yield item


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_exception_in_any_stage_reaches_the_consumer_and_stops_the_threads(failing: int) -> None:
    limits = [5 if stage == failing else -1 for stage in range(3)]
    seen: list[int] = []

    def run() -> None:
        with ahead(fails_at(limits[0], count())) as first, ahead(fails_at(limits[1], first)) as second:
            seen.extend(fails_at(limits[2], second))

    threads = threading.active_count()
    with pytest.raises(ValueError, match="item 5"):
        run()
    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == threads


def test_ctrl_c_in_the_consumer_stops_the_threads() -> None:
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), ahead(count()):
        raise KeyboardInterrupt
    assert threading.active_count() == threads
