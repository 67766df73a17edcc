"""The user's own data: nested folders, its classes file, and the way through a recipe's section and a bundle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kd_deploy.config.data import FolderData
from kd_deploy.data.dataset import open_dataset, verify
from kd_deploy.data.folder import Folder
from kd_deploy.deploy import bundle_dataset
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.data.trees import SIZES, blocks, write_folder, write_label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "my data")


def test_classes_come_from_the_file(root: Path) -> None:
    dataset = open_dataset(FolderData(format="folder", root=root), "train")
    assert dataset.classes == ("ground", "rock", "sky")
    assert dataset.palette.tolist() == [[128, 64, 0], [128, 0, 0], [128, 192, 255]]


def test_pairs_are_matched_by_their_place(root: Path) -> None:
    train = Folder(root, "train")
    names = [str(Path(train[i].name).relative_to(root / "images/train")) for i in range(len(train))]
    assert names == ["a.jpg", "day 2/a.png", "day 2/b.v1.JPG"]
    write_label(root / "masks/train/day 2/a.png", blocks((1, 255), SIZES[1]), palette=True)
    assert (train[0].label == blocks((0, 2, 1, 255), SIZES[0])).all()
    assert (train[1].label == blocks((1, 255), SIZES[1])).all()
    assert verify(train) is None


def test_a_binary_masks_white_is_ignored_only_where_the_file_says_so(root: Path) -> None:
    (root / "classes.txt").write_text("background\nobject\n")
    write_label(root / "masks/train/a.png", blocks((0, 255)))
    message = (
        r"a\.png: holds the id 255 \(1200 pixels\), which is no class; classes\.txt has .* ignores none \(a"
    )
    with pytest.raises(UserError, match=message):
        Folder(root, "train")[0]
    write_label(root / "masks/train/a.png", blocks((0, 1)) > 0)
    with pytest.raises(UserError, match=r"a\.png: is no label map \(1 picture\)"):
        Folder(root, "train")[0]


def test_without_its_classes_file(root: Path) -> None:
    (root / "classes.txt").write_text("rock: grey")
    with pytest.raises(UserError, match=r"classes\.txt:1: 'grey' is no colour"):
        Folder(root, "train")
    (root / "classes.txt").unlink()
    with pytest.raises(
        UserError, match=r"classes\.txt: is missing \(.*: images, masks\); the layout of folder is"
    ):
        Folder(root, "train")


def test_a_bundle_finds_its_data(root: Path, tmp_path: Path) -> None:
    section = FolderData(format="folder", root=root, size=(32, 48)).model_dump(mode="json", exclude={"root"})
    bundle: Any = SimpleNamespace(
        path=tmp_path, manifest={"data": section}, classes=("ground", "rock", "sky")
    )
    dataset = bundle_dataset(bundle, root, "val")
    assert verify(dataset) == (32, 48)
    assert set(np.unique(dataset[0].label)) == {0, 1, 2, 255}
    (root / "classes.txt").write_text("ground\nsky\nrock\nignore: 255")
    with pytest.raises(UserError, match="has other classes than the bundle; pass the bundle's own data set"):
        bundle_dataset(bundle, root, "val")
