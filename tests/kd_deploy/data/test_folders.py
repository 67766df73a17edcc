"""What every data set on disk does with a good folder, and with each that is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from kd_deploy.data.dataset import READERS, verify
from kd_deploy.data.folders import listed
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.segment import labels_to_size, to_size
from tests.conftest import write_camvid
from tests.kd_deploy.data.trees import (
    blocks,
    write_ade20k,
    write_cityscapes,
    write_coco_stuff,
    write_folder,
    write_frame,
    write_label,
    write_voc,
)


@dataclass(frozen=True)
class Tree:
    """A data set and where its first training frame lies."""

    format: str
    root: Path
    frame: str
    mask: str
    unknown: int

    def refusal(self, split: str = "train") -> str:
        with pytest.raises(UserError) as caught:
            verify(READERS[self.format](self.root, split))
        assert "\n" not in str(caught.value)
        return str(caught.value)


TREES: dict[str, tuple[Callable[[Path], Path], str, str, int]] = {
    "camvid": (write_camvid, "train/000.jpg", "trainannot/000.png", 12),
    "cityscapes": (
        write_cityscapes,
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png",
        34,
    ),
    "voc": (write_voc, "JPEGImages/a.jpg", "SegmentationClass/a.png", 21),
    "ade20k": (
        write_ade20k,
        "images/training/ADE_train_00000000.jpg",
        "annotations/training/ADE_train_00000000.png",
        151,
    ),
    "coco_stuff10k": (
        write_coco_stuff,
        "images/train2014/COCO_train2014_000000000000.jpg",
        "annotations/train2014/COCO_train2014_000000000000_labelTrainIds.png",
        172,
    ),
    "folder": (write_folder, "images/train/a.jpg", "masks/train/a.png", 3),
}


@pytest.fixture(params=list(TREES))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    """Each data set in turn."""
    write, *files = TREES[request.param]
    return Tree(request.param, write(tmp_path / "data"), *files)  # type: ignore[arg-type]


def test_every_reader_has_a_tree() -> None:
    assert list(READERS) == list(TREES)


def test_frames_labels_classes_and_palette_fit(tree: Tree) -> None:
    for split in ("train", "val"):
        dataset = READERS[tree.format](tree.root, split)
        assert dataset.palette.shape == (len(dataset.classes), 3)
        assert dataset.palette.dtype == np.uint8
        assert len(set(dataset.classes)) == len(dataset.classes)
        assert len(dataset) >= 2
        for index in range(len(dataset)):
            frame = dataset[index]
            assert frame.label is not None
            assert frame.image.dtype == frame.label.dtype == np.uint8
            assert frame.image.shape == (*frame.label.shape, 3)
            assert set(np.unique(frame.label)) <= {*range(len(dataset.classes)), 255}
            assert (frame.label == 255).any()
    assert READERS[tree.format](tree.root, "train")[0].name == str(tree.root / tree.frame)


def test_frames_are_resized_as_the_device_resizes(tree: Tree) -> None:
    reader = READERS[tree.format]
    whole, sized = reader(tree.root, "train"), reader(tree.root, "train", (24, 48))
    short = reader(tree.root, "train", short_side=20)
    assert verify(sized) == (24, 48)
    for index in range(len(whole)):
        frame, small = whole[index], short[index]
        assert frame.label is not None
        assert small.label is not None
        height, width = frame.label.shape
        assert min(small.label.shape) == 20
        assert small.label.shape[0] / small.label.shape[1] == pytest.approx(height / width, rel=0.03)
        assert (small.image == to_size(frame.image, small.label.shape)).all()  # type: ignore[arg-type]
        assert (small.label == labels_to_size(frame.label, small.label.shape)).all()  # type: ignore[arg-type]


def test_a_wrong_folder_is_told_what_is_expected_and_what_is_there(tree: Tree, tmp_path: Path) -> None:
    for root, there in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "other", "notes.txt")):
        if there == "notes.txt":
            root.mkdir()
            (root / there).touch()
        message = Tree(tree.format, root, "", "", 0).refusal()
        assert f": is missing ({root}: {there}); the " in message
        assert "ROOT/" in message
        assert message.endswith("--set data.root=ROOT (or --data ROOT)")


def test_a_split_that_is_not_there(tree: Tree) -> None:
    message = tree.refusal("validation")
    assert message.startswith(
        str(tree.root / "validation") if tree.format == "camvid" else "--split validation: "
    )
    assert "train" in message
    assert "val" in message


def test_a_frame_without_its_mask(tree: Tree) -> None:
    (tree.root / tree.mask).unlink()
    assert tree.refusal().startswith(f"{tree.root / tree.frame}: lacks its mask {tree.root / tree.mask}; add")


def test_a_folder_without_frames(tree: Tree) -> None:
    folder = (tree.root / tree.frame).parent
    shutil.rmtree(folder)
    folder.mkdir()
    for city in folder.parent.iterdir() if tree.format == "cityscapes" else ():
        shutil.rmtree(city)
    expected = "is missing, though" if tree.format == "voc" else "holds no pictures"
    assert expected in tree.refusal()


def test_an_id_that_is_no_class(tree: Tree) -> None:
    file = tree.root / tree.mask
    shape = READERS[tree.format](tree.root, "train")[0].image.shape[:2]
    write_label(file, blocks((1, tree.unknown, 2), (shape[0], shape[1])))
    assert tree.refusal().startswith(f"{file}: holds the id {tree.unknown} (")
    assert " pixels), which is no class; " in tree.refusal()


def test_a_mask_of_another_size(tree: Tree) -> None:
    file = tree.root / tree.mask
    write_label(file, np.ones((8, 9), np.uint8))
    assert tree.refusal().startswith(f"{file}: is 8x9, its frame {Path(tree.frame).name} is ")


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("which", ["frame", "mask"])
def test_a_truncated_file(tree: Tree, which: str, kept: float) -> None:
    file = tree.root / getattr(tree, which)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    assert tree.refusal().startswith(f"{file}: ")


def test_a_mask_in_colours(tree: Tree) -> None:
    file = tree.root / tree.mask
    cv2.imwrite(str(file), np.zeros((40, 60, 3), np.uint8))
    assert tree.refusal().startswith(f"{file}: is no label map (")


def test_a_list_names_its_frames_in_order(tmp_path: Path) -> None:
    file = tmp_path / "train.txt"
    with pytest.raises(UserError, match=r"train\.txt: cannot be read"):
        listed(file, tmp_path)
    file.write_text("\n")
    with pytest.raises(UserError, match=r"train\.txt: names no frame; copy"):
        listed(file, tmp_path)
    file.write_text("b\na\r\nc")
    assert [path.name for path in listed(file, tmp_path)] == ["b.jpg", "a.jpg", "c.jpg"]


def test_a_listed_frame_that_is_missing(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    tree = Tree("voc", root, "", "", 0)
    (root / "JPEGImages/b.jpg").unlink()
    names = root / "ImageSets/Segmentation/train.txt"
    assert tree.refusal() == f"{root}/JPEGImages/b.jpg: is missing, though {names} names it; add the frame"
    (root / "SegmentationClass/b.png").unlink()
    (root / "JPEGImages/d.jpg").unlink()
    assert tree.refusal().endswith("add the frame (2 more are missing; `kd-deploy data check` lists them)")


def test_a_frame_that_goes_while_it_is_read(tree: Tree) -> None:
    dataset = READERS[tree.format](tree.root, "train")
    (tree.root / tree.frame).unlink()
    with pytest.raises(UserError, match=r": is missing.*; add the frame$"):
        dataset[0]
    (tree.root / tree.mask).unlink()
    assert [problem.kind for problem in dataset.inspect(0).problems] == ["missing frame", "missing mask"]


def test_all_problems_of_a_pair_are_found(tree: Tree) -> None:
    dataset = READERS[tree.format](tree.root, "train")
    write_label(tree.root / tree.mask, blocks((1, tree.unknown), (8, 10)))
    (tree.root / tree.frame).write_bytes(b"")
    reading = dataset.inspect(0)
    assert [problem.kind for problem in reading.problems] == ["unreadable file", "unknown id"]
    assert reading.problems[1].ids == {tree.unknown: 40}
    assert reading.image is None
    assert reading.label is not None
    write_frame(tree.root / tree.frame)
    assert [problem.kind for problem in dataset.inspect(0).problems] == ["unknown id", "size mismatch"]
