"""Images, folders and videos through a model."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.infer import infer
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.video import CODECS, read_video, write_video

CLASSES: Any = {"class_names": ("dark", "bright"), "palette": np.array([[0, 0, 200], [200, 0, 0]], np.uint8)}
MASK_ONLY: Any = {"view": "mask", **CLASSES}


class Brightness(Model):
    """Class 1 where a pixel is brighter than 127; raises at the frame `fails_at`."""

    def __init__(
        self, size: tuple[int, int] = (64, 96), fails_at: int = -1, error: type[BaseException] = RuntimeError
    ) -> None:
        self.size = size
        self.fails_at = fails_at
        self.error = error
        self.count = 0

    def describe(self) -> Description:
        return Description("fake", "fp32", "cpu", {})

    def _close(self) -> None:
        pass

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.count == self.fails_at:
            raise self.error("the model failed")
        self.count += 1
        return (frames.mean(axis=-1) > 127).astype(np.uint8)


def half_bright(size: tuple[int, int] = (64, 96)) -> NDArray[np.uint8]:
    image = np.full((*size, 3), 20, np.uint8)
    image[:, size[1] // 2 :] = 220
    return image


def save(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def save_video(path: Path, frames: int = 12, size: tuple[int, int] = (64, 96)) -> Path:
    with write_video(path, 12.5) as sink:
        for _ in range(frames):
            sink.write(half_bright(size))
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_an_image_gives_its_class_ids(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", half_bright((63, 97)))
    calls: list[tuple[int, int | None]] = []
    report = infer(
        Brightness((32, 48)),
        source,
        tmp_path / "out" / "a.png",
        progress=lambda *call: calls.append(call),
        **MASK_ONLY,
    )
    ids = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint8
    assert ids.shape == (63, 97)
    assert not ids[:, :44].any()
    assert ids[:, 53:].all()
    assert (report.kind, report.frames, report.size, report.boundary) == ("image", 1, (63, 97), "frame")
    assert report.fps == pytest.approx(1 / report.seconds)
    assert calls == [(1, 1)]


def test_the_report_is_json(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", half_bright())
    report = infer(Brightness(), source, tmp_path / "b.jpg", **CLASSES)
    value = json.loads(json.dumps(report.to_json()))
    assert value["model"] == {"backend": "fake", "precision": "fp32", "device": "cpu", "versions": {}}
    assert (value["output"], value["size"], value["codec"]) == (str(tmp_path / "b.jpg"), [64, 96], None)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_an_overlay_shows_the_frame_under_its_colours(tmp_path: Path, suffix: str) -> None:
    source = save(tmp_path / "a.png", half_bright((256, 320)))
    output = tmp_path / f"b{suffix}"
    infer(Brightness(), source, output, view="overlay", **CLASSES)
    picture = cv2.imread(str(output))
    assert picture.shape[1] == 320
    blue, green, red = picture[200, 300].astype(int)  # the frame's grey 220, half of the palette's red 200
    assert (abs(blue - 110) < 6, abs(green - 110) < 6, abs(red - 210) < 6) == (True, True, True)


def test_side_by_side_holds_the_frame_and_the_overlay(tmp_path: Path) -> None:
    image = half_bright((256, 320))
    source = save(tmp_path / "a.png", image)
    infer(Brightness(), source, tmp_path / "side.png", view="side-by-side", **CLASSES)
    infer(Brightness(), source, tmp_path / "overlay.png", view="overlay", **CLASSES)
    picture = cv2.imread(str(tmp_path / "side.png"))
    np.testing.assert_array_equal(picture[:256, :320], image)
    np.testing.assert_array_equal(picture[:, -320:], cv2.imread(str(tmp_path / "overlay.png")))


def test_a_folder_gives_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.jpg", half_bright())
    save(tmp_path / "in" / "b.PNG", half_bright((40, 50)))
    (tmp_path / "in" / "notes.txt").touch()
    report = infer(Brightness(), tmp_path / "in", tmp_path / "out", **MASK_ONLY)
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    assert cv2.imread(str(tmp_path / "out" / "b.png"), cv2.IMREAD_UNCHANGED).shape == (40, 50)
    assert (report.kind, report.frames, report.skipped, report.size) == ("folder", 2, ("notes.txt",), None)


def test_no_file_of_a_folder_is_written_where_one_is_no_picture(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", half_bright())
    for content in (b"", b"text"):
        (tmp_path / "in" / "z.jpg").write_bytes(content)
        with pytest.raises(UserError, match=r"z\.jpg: cannot be decoded"):
            infer(Brightness(), tmp_path / "in", tmp_path / "out", **MASK_ONLY)
        assert not (tmp_path / "out").exists()


def test_a_picture_cut_short_stops_the_folder_with_whole_files_only(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", half_bright())
    cut = save(tmp_path / "in" / "b.png", half_bright())
    cut.write_bytes(cut.read_bytes()[:60])
    with pytest.raises(UserError, match=r"b\.png: is truncated"):
        infer(Brightness(), tmp_path / "in", tmp_path / "out", **MASK_ONLY)
    assert names(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("gone.png", "out.png", r"gone\.png: no such file"),
        ("notes.txt", "out.png", r"notes\.txt: is no folder, no image .* and no video"),
        ("a.png", "a.png", r"a\.png: is the source itself"),
        ("link.png", "a.png", r"a\.png: is the source itself"),
        ("in", "in", "in: is the source itself"),
        ("a.png", "out.txt", r"out\.txt: an image is written as \.png or \.jpg or \.jpeg"),
        ("a.png", "in", r"in: an image is written as"),
        ("text.png", "out.png", r"text\.png: cannot be decoded"),
        ("in", "out.mp4", r"out\.mp4: a folder of images gives a folder"),
        ("in", "notes.txt", r"notes\.txt: a folder of images gives a folder"),
        ("empty", "out", "empty: holds no images"),
        ("clash", "out", r"same\.png: same\.jpg would be written to .*same\.png too"),
        ("clip.mp4", "out", r"out: a video is written as \.mp4"),
        ("clip.mp4", "out.avi", r"out\.avi: a video is written as \.mp4"),
        ("text.mp4", "out.mp4", r"text\.mp4: cannot be decoded as a video"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    tmp_path: Path, source: str, output: str, message: str
) -> None:
    for name in ("a.png", "in/a.png", "clash/same.png", "clash/same.jpg"):
        save(tmp_path / name, half_bright())
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    for name in ("notes.txt", "text.png", "text.mp4"):
        (tmp_path / name).write_text("text")
    save_video(tmp_path / "clip.mp4", frames=1)
    before = sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        infer(Brightness(), tmp_path / source, tmp_path / output, **CLASSES)
    assert "\n" not in str(caught.value)
    assert sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")) == before


def test_class_ids_are_not_written_as_jpeg(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", half_bright())
    with pytest.raises(UserError, match=r"out\.jpg: class ids are written as \.png"):
        infer(Brightness(), source, tmp_path / "out.jpg", **MASK_ONLY)


def test_a_video_gives_a_video_of_its_length_size_and_rate(tmp_path: Path) -> None:
    source = save_video(tmp_path / "clip.mp4", frames=12)
    calls: list[tuple[int, int | None]] = []
    report = infer(
        Brightness((32, 32)),
        source,
        tmp_path / "out.mp4",
        progress=lambda *call: calls.append(call),
        **MASK_ONLY,
    )
    with read_video(tmp_path / "out.mp4") as video:
        frames = list(video)
    assert (video.info.width, video.info.height, video.info.fps, len(frames)) == (96, 64, 12.5, 12)
    np.testing.assert_allclose(frames[-1][30, 20], (200, 0, 0), atol=12)  # dark: blue, in BGR
    np.testing.assert_allclose(frames[-1][30, 80], (0, 0, 200), atol=12)
    assert (report.kind, report.frames, report.failed, report.size) == ("video", 12, 0, (64, 96))
    assert (report.boundary, report.codec) == ("video", CODECS[".mp4"])
    assert calls == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize("view", ["overlay", "side-by-side"])
def test_views_of_odd_sizes_fit_in_a_video(tmp_path: Path, view: Any) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "odd.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 25, (97, 63))
    for _ in range(2):
        writer.write(half_bright((63, 97)))
    writer.release()
    report = infer(Brightness(), tmp_path / "odd.avi", tmp_path / "out.mp4", view=view, **CLASSES)
    with read_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == report.frames == 2
    assert report.size is not None
    assert video.info.width >= report.size[1] * (2 if view == "side-by-side" else 1)


def test_frames_that_a_cut_video_lacks_are_counted(tmp_path: Path) -> None:
    source = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for _ in range(20):
        writer.write(noise)
    writer.release()
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    report = infer(Brightness(), source, tmp_path / "out.mp4", **CLASSES)
    assert report.failed > 0
    assert report.frames + report.failed == 20


@pytest.mark.parametrize("error", [ZeroDivisionError, UserError])
def test_a_model_that_fails_stops_the_video(tmp_path: Path, error: type[Exception]) -> None:
    source = save_video(tmp_path / "clip.mp4", frames=30)
    threads = threading.active_count()
    with pytest.raises(error, match="the model failed"):
        infer(Brightness(fails_at=5, error=error), source, tmp_path / "out.mp4", **CLASSES)
    assert names(tmp_path) == ["clip.mp4"]
    assert threading.active_count() == threads


def test_a_sink_that_fails_stops_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_video(tmp_path / "clip.mp4", frames=30)
    threads = threading.active_count()
    monkeypatch.setattr("kd_deploy.runtime.video.writer.CODECS", {".mp4": "none"})
    with pytest.raises(UserError, match=r"out\.mp4: OpenCV cannot write"):
        infer(Brightness(), source, tmp_path / "out.mp4", **CLASSES)
    assert names(tmp_path) == ["clip.mp4"]
    assert threading.active_count() == threads


def test_ctrl_c_leaves_a_complete_video_of_the_frames_so_far(tmp_path: Path) -> None:
    source = save_video(tmp_path / "clip.mp4", frames=30)

    def interrupt(done: int, total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer(Brightness(), source, tmp_path / "out.mp4", progress=interrupt, **CLASSES)
    with read_video(tmp_path / "out.mp4") as video:
        assert len(list(video)) == 4
    assert names(tmp_path) == ["clip.mp4", "out.mp4"]
