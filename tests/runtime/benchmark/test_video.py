"""The boundary from file to file."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from typing import Any

import cv2
import pytest

from kd_deploy.runtime.benchmark import benchmark_bundle, benchmark_video
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model
from tests.conftest import draw
from tests.runtime.gpu import SIZE

FRAMES = 6


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    writer = cv2.VideoWriter(str(tmp_path / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE[::-1])
    for seed in range(FRAMES):
        writer.write(draw(seed, SIZE)[0])
    writer.release()
    return tmp_path / "drive.mp4"


def test_whole_passes_until_there_are_enough_frames(tiny: Bundle, drive: Path) -> None:
    told: list[float] = []
    with open_model(tiny) as model:
        (timing,) = benchmark_video(
            tiny, [model], drive, seconds=0, min_n=FRAMES + 1, warmup_seconds=0, progress=told.append
        )
    assert len(timing.samples_ms) == 2 * FRAMES
    assert told == [pytest.approx(FRAMES / (FRAMES + 1)), 1.0]
    assert timing.whole_seconds is not None
    assert timing.whole_seconds >= sum(timing.samples_ms) / 1e3  # the files are closed after the last frame
    assert timing.fps == 2 * FRAMES / timing.whole_seconds
    assert (timing.boundary, timing.batch, timing.size) == ("video", 1, "16x24")
    assert not list(Path(gettempdir()).glob("kd-deploy-*/out.mp4"))


def test_a_bundles_benchmark_takes_the_three_boundaries(tiny: Bundle, drive: Path) -> None:
    told: list[float] = []
    with open_model(tiny) as model:
        result = benchmark_bundle(
            tiny,
            [model],
            boundaries=("session", "frame", "video"),
            seconds=0,
            video=drive,
            progress=told.append,
        )
    assert [entry["boundary"] for entry in result["results"]] == ["session", "frame", "video"]
    assert told == sorted(told)
    assert told[-1] == 1


def test_no_video_is_an_error(tiny: Bundle, tmp_path: Path) -> None:
    picture = tmp_path / "street.png"
    picture.write_bytes(b"")
    with open_model(tiny) as model:
        with pytest.raises(UserError, match=r"street\.png: is no video file \(\.mp4 .*\); name one"):
            benchmark_video(tiny, [model], picture)
        with pytest.raises(UserError, match=r"gone\.mp4: no such file"):
            benchmark_video(tiny, [model], tmp_path / "gone.mp4", warmup_seconds=0)
        with pytest.raises(UserError, match="--boundary video: needs a file; name one with --video FILE"):
            benchmark_bundle(tiny, [model], boundaries=("video",))


def test_models_take_turns_of_whole_passes(
    tiny: Bundle, drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []

    def infer(model: Any, source: Any, output: Any, *, progress: Any, **options: Any) -> None:
        order.append(model)
        progress(1, None)

    monkeypatch.setattr("kd_deploy.runtime.benchmark.video.infer", infer)
    with open_model(tiny) as one, open_model(tiny, precision="fp16") as two:
        benchmark_video(tiny, [one, two], drive, seconds=0, min_n=2, warmup_seconds=0)
        assert order == [one, two, one, two]
