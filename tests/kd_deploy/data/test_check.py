"""A walk through a whole data set: every problem of every sort, and what is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kd_deploy.data.check import Report, check
from kd_deploy.data.dataset import READERS
from kd_deploy.runtime.errors import UserError
from tests.conftest import write_camvid
from tests.kd_deploy.data.test_folders import TREES
from tests.kd_deploy.data.trees import SIZES, blocks, write_folder, write_frame, write_label, write_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "my data")


def run(root: Path, *splits: str) -> Report:
    return check(root, "folder", splits or ("train", "val"))


def problems(report: Report) -> list[tuple[str, str, str]]:
    return [(split, error.kind, str(error.path.relative_to(report.root))) for split, error in report.problems]


@pytest.mark.parametrize("data_format", READERS)
def test_a_good_tree_is_clean(data_format: str, tmp_path: Path) -> None:
    root = TREES[data_format][0](tmp_path / "data")
    report = check(root, data_format, ("train", "val"))
    assert report.problems == []
    for split in ("train", "val"):
        dataset = READERS[data_format](root, split)
        counts = report.splits[split]
        assert counts.frames == counts.labels == len(dataset)
        assert counts.sizes.total() == len(dataset)
        assert counts.unknown == 0
        labels = [dataset[index].label for index in range(len(dataset))]
        assert counts.pixels.sum() == sum(label.size for label in labels if label is not None)
        assert counts.pixels[255] == sum((label == 255).sum() for label in labels)
    assert tuple(report.classes) == dataset.classes


def test_every_sort_of_problem_is_found_at_once(root: Path) -> None:
    images, masks = root / "images/train", root / "masks/train"
    for name in ("c", "d", "e", "f", "g"):
        write_frame(images / f"{name}.jpg")
        write_label(masks / f"{name}.png", blocks((0, 1)))
    (masks / "c.png").unlink()
    (images / "d.jpg").unlink()
    (images / "e.jpg").write_bytes((images / "e.jpg").read_bytes()[:500])
    (masks / "e.png").write_bytes(b"")  # both files of a pair
    write_label(masks / "f.png", blocks((0, 7, 9, 9), (20, 40)))  # two problems in one file
    (images / "g.jpg").write_bytes(b"no picture")
    write_label(masks / "g.png", blocks((0, 8)))
    shutil.rmtree(root / "images/val")
    (root / "images/val").mkdir()
    report = run(root, "train", "val", "test")
    assert problems(report) == [
        ("train", "missing mask", "images/train/c.jpg"),
        ("train", "unreadable file", "images/train/e.jpg"),
        ("train", "unreadable file", "masks/train/e.png"),
        ("train", "unknown id", "masks/train/f.png"),
        ("train", "size mismatch", "masks/train/f.png"),
        ("train", "unreadable file", "images/train/g.jpg"),
        ("train", "unknown id", "masks/train/g.png"),
        ("train", "missing frame", "masks/train/d.png"),
        ("val", "empty split", "images/val"),
        ("test", "layout", "images/test"),
    ]
    by_path = {error.path.name: error for _, error in report.problems if error.kind == "unknown id"}
    assert by_path["f.png"].ids == {7: 200, 9: 400}
    assert "holds the ids 7 (200 pixels), 9 (400 pixels), which are no classes; classes.txt" in str(
        by_path["f.png"]
    )
    train = report.splits["train"]
    assert (train.frames, train.labels, train.unknown) == (7, 5, 600 + 1200)
    assert train.sizes.total() == 5
    assert train.pixels[255] == (40 * 60 + 48 * 32 + 56 * 56) // 4  # ids that are unknown are not ignored


def test_the_reader_raises_the_first_of_them(root: Path) -> None:
    write_label(root / "masks/train/a.png", blocks((0, 3), (20, 40)))
    (first, second) = (error for _, error in run(root, "train").problems)
    with pytest.raises(UserError) as caught:
        READERS["folder"](root, "train")[0]
    assert str(caught.value) == str(first)
    assert second.kind == "size mismatch"


def test_frequencies_are_shares_of_labelled_pixels_and_of_frames(root: Path) -> None:
    shutil.rmtree(root / "images/train/day 2")
    shutil.rmtree(root / "masks/train/day 2")
    write_frame(root / "images/train/b.jpg", (20, 60))
    write_label(root / "masks/train/a.png", blocks((0, 0, 0, 255)))
    write_label(root / "masks/train/b.png", blocks((0, 2), (20, 60)))
    report = run(root, "train")
    (split,) = report.to_json()["splits"].values()
    assert split["frames"] == 2
    assert split["ignored_percent"] == pytest.approx(100 * 600 / 3600)
    assert split["absent"] == ["rock"]
    assert split["classes"]["ground"] == {
        "pixels": 2400,
        "pixel_percent": 80.0,
        "frames": 2,
        "frame_percent": 100.0,
    }
    assert split["classes"]["sky"] == {
        "pixels": 600,
        "pixel_percent": 20.0,
        "frames": 1,
        "frame_percent": 50.0,
    }
    assert split["classes"]["rock"]["pixels"] == 0
    assert split["sizes"] == {
        "different": 2,
        "most_common": (20, 60),
        "smallest": (20, 60),
        "largest": (40, 60),
    }


def test_the_most_common_size(tmp_path: Path) -> None:
    assert SIZES[0] == SIZES[3]
    sizes = check(write_voc(tmp_path), "voc", ["val"]).splits["val"].extremes()
    assert sizes == {"most_common": (40, 60), "smallest": (48, 32), "largest": (56, 56)}


def test_splits_that_share_a_file_report_it_once(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    (root / "SegmentationClass/a.png").unlink()
    (root / "JPEGImages/b.jpg").unlink()
    report = check(root, "voc", ("train", "trainval"))
    assert problems(report) == [
        ("train", "missing mask", "JPEGImages/a.jpg"),
        ("train", "missing frame", "JPEGImages/b.jpg"),
    ]


def test_masks_without_a_frame(tmp_path: Path) -> None:
    root = write_camvid(tmp_path / "camvid", size=(16, 24), train=2, val=1)
    (root / "train/001.jpg").unlink()
    report = check(root, "camvid", ["train"])
    (problem,) = (error for _, error in report.problems)
    assert str(problem) == f"{root}/trainannot/001.png: has no frame; add the frame or take the mask out"
    assert len(READERS["camvid"](root, "train")) == 1  # training leaves it alone


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_a_cityscapes_mask_of_either_sort_without_a_frame(tmp_path: Path, kind: str) -> None:
    root = TREES["cityscapes"][0](tmp_path / "data")
    for name in ("labelIds", "labelTrainIds"):  # where a frame has both, one is its mask
        write_label(root / f"gtFine/val/lindau/lindau_000000_000019_gtFine_{name}.png", blocks((0, 7)))
    write_label(root / f"gtFine/val/lindau/lindau_000009_000019_gtFine_{kind}.png", blocks((0, 7)))
    report = check(root, "cityscapes", ["val"])
    assert problems(report) == [
        ("val", "missing frame", f"gtFine/val/lindau/lindau_000009_000019_gtFine_{kind}.png")
    ]


def test_a_wrong_root_split_or_classes_file_ends_the_walk(root: Path) -> None:
    with pytest.raises(UserError, match="nowhere: is no folder; pass the folder of the data set"):
        check(root / "nowhere", "folder", ["train"])
    with pytest.raises(UserError, match=r"--split tset: folder has train, val, test"):
        run(root, "tset")
    (root / "classes.txt").write_text("rock\nrock")
    with pytest.raises(UserError, match=r"classes\.txt:2: 'rock' stands there twice"):
        run(root)
