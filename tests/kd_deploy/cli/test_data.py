"""`kd-deploy data`: the formats, and the report of a check on stdout, on stderr and by its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kd_deploy import progress
from kd_deploy.cli.data import FORMATS
from kd_deploy.data.dataset import READERS
from kd_deploy.runtime.images import read_image
from tests.kd_deploy.data.trees import blocks, write_folder, write_frame, write_label


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "my data")


def test_list_names_every_format_and_what_it_expects(kd: Any) -> None:
    assert tuple(READERS) == FORMATS
    outcome = kd("data", "list")
    assert (outcome.code, outcome.err) == (0, "")
    for name, reader in READERS.items():
        assert name in outcome.out
        assert reader.layout in outcome.out
    rows = json.loads(kd("data", "list", "--json").out)
    assert [row["format"] for row in rows] == list(READERS)
    assert {row["format"]: row["classes"] for row in rows}["voc"] == 21
    assert rows[-1]["classes"] is None  # the user says which


def test_a_clean_data_set_is_0(root: Path, kd: Any) -> None:
    outcome = kd("data", "check", root, "--format", "folder")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1] == f"{root}: 6 frames, no problems"
    for word in ("train", "val", "48x32", "56x56", "25.00", "ground", "rock", "33.3", "100"):
        assert word in outcome.out
    assert "warning" not in outcome.out


def test_problems_are_1_and_all_are_named(root: Path, kd: Any) -> None:
    (root / "masks/train/a.png").unlink()
    write_label(root / "masks/val/a.png", blocks((0, 5, 255, 255), (8, 9)))
    outcome = kd("data", "check", root, "--format", "folder")
    assert outcome.code == 1
    assert outcome.err == f"error: {root}: 3 problems\n"
    assert "images/train/a.jpg: lacks its mask masks/train/a.png; add the mask or take" in outcome.out
    assert "masks/val/a.png: holds the id 5 (16 pixels), which is no class" in outcome.out
    assert "masks/val/a.png: is 8x9, its frame a.jpg is 40x60; mask and frame must have one" in outcome.out
    assert "no problems" not in outcome.out
    write_label(root / "masks/val/a.png", blocks((0, 2, 1, 255)))
    assert kd("data", "check", root, "--format", "folder").err == f"error: {root}: 1 problem\n"


def test_json_is_alone_and_whole(root: Path, kd: Any) -> None:
    write_label(root / "masks/train/a.png", blocks((0, 5)))
    for number in range(25):
        write_frame(root / "images/train" / f"x{number:02d}.png", (4, 4))
    outcome = kd("data", "check", root, "--format", "folder", "--json")
    assert outcome.code == 1
    assert outcome.err == f"error: {root}: 26 problems\n"
    result = json.loads(outcome.out)
    assert (result["root"], result["format"]) == (str(root), "folder")
    assert len(result["problems"]) == 26
    assert result["problems"][0]["ids"] == {"5": 1200}
    assert {"kind", "split", "file", "problem"} == result["problems"][1].keys()
    assert result["splits"]["val"]["sizes"]["largest"] == [56, 56]
    assert list(result["splits"]["train"]["classes"]) == ["ground", "rock", "sky"]
    table = kd("data", "check", root, "--format", "folder").out
    assert table.count("lacks its mask") == 20
    assert "... and 5 more" in table


def test_classes_that_never_occur_are_a_warning(root: Path, kd: Any) -> None:
    for mask in (root / "masks/val").rglob("*.png"):
        shape = read_image(mask).shape
        write_label(mask, blocks((0, 255), (shape[0], shape[1])))
    outcome = kd("data", "check", root, "--format", "folder")
    assert outcome.code == 0
    assert "warning: val: 2 of 3 classes never occur: rock, sky" in outcome.out.splitlines()
    assert "train: " not in outcome.out.split("warning")[1]


def test_from_another_directory_with_a_plot(
    root: Path, kd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outcome = kd("data", "check", "../my data", "--format", "folder", "--split", "val", "--plot", "out/f.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert "../my data: 3 frames, no problems" in outcome.out
    assert read_image(tmp_path / "elsewhere/out/f.png").shape[1] == 1080
    assert kd("data", "check", root, "--format", "folder", "--plot", "f.txt").error == (
        "--plot f.txt: is no PNG; end the name in .png"
    )
    assert kd("data", "check", "no where", "--format", "folder").error.startswith("no where: is no folder; ")
    assert kd("data", "check", root, "--format", "folders").code == 2


def test_progress_is_on_stderr(root: Path, kd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    outcome = kd("data", "check", root, "--format", "folder", "--json")
    json.loads(outcome.out)
    assert "check train: 3/3" in outcome.err
    assert "check val: 3/3" in outcome.err


def test_nothing_of_the_layout_is_there(root: Path, kd: Any) -> None:
    shutil.rmtree(root / "images")
    outcome = kd("data", "check", root, "--format", "folder")
    assert outcome.err == f"error: {root}: 2 problems\n"
    assert "images/train: is missing" in outcome.out
    assert "the layout of folder is ROOT/images/val/NAME.jpg" in outcome.out
