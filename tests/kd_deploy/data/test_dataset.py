"""Opening a data set by its recipe section, and reading ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy import progress
from kd_deploy.config.data import CamVidData, SyntheticData
from kd_deploy.data import dataset as module
from kd_deploy.data import synthetic
from kd_deploy.data.dataset import frames, open_dataset, verify
from kd_deploy.data.synthetic import Synthetic
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame


class Numbered:
    """Twenty blank frames; `broken` cannot be read."""

    classes = ("road",)
    palette = np.zeros((1, 3), np.uint8)

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken
        self.reads: list[int] = []

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Frame:
        self.reads.append(index)
        if index == self.broken:
            raise UserError(f"{index}: is truncated")
        return Frame(str(index), np.zeros((4, 6, 3), np.uint8))


def test_frames_come_in_order_and_once() -> None:
    dataset = Numbered()
    assert [frame.name for frame in frames(dataset)] == [str(i) for i in range(20)]
    assert sorted(dataset.reads) == list(range(20))


def test_frames_are_read_only_a_little_ahead() -> None:
    dataset = Numbered()
    next(frames(dataset))
    assert max(dataset.reads) < 12


def test_a_broken_frame_raises_in_its_place() -> None:
    seen = []
    with pytest.raises(UserError, match=r"^13: is truncated$"):
        seen.extend(frame.name for frame in frames(Numbered(broken=13)))
    assert len(seen) == 13


def test_verify_refuses_an_empty_split(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify(Numbered()) == (4, 6)
    monkeypatch.setattr(Numbered, "__len__", lambda self: 0)
    with pytest.raises(UserError, match="holds no frame"):
        verify(Numbered())


def test_verify_reads_a_large_split_in_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "VERIFIED", 5)
    dataset = Numbered()
    assert verify(dataset) == (4, 6)
    assert sorted(dataset.reads) == [0, 5, 10, 14, 19]
    assert capsys.readouterr().err == ""  # quick work is silent
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    verify(dataset)
    monkeypatch.setattr(module, "VERIFIED", 20)
    verify(dataset)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("check 5 of 20 frames: 1/5")
    assert lines[-1].startswith("check 20 frames: 20/20")
    monkeypatch.setenv("RANK", "1")
    verify(dataset)
    assert capsys.readouterr().err == ""  # the first process says it


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_section_opens_its_format(camvid: Path, split: str) -> None:
    sections: list[Any] = [
        CamVidData(format="camvid", root=camvid, size=(32, 48)),
        SyntheticData(format="synthetic", size=(32, 48), train=3, val=2),
    ]
    for section in sections:
        dataset = open_dataset(section, split)
        assert verify(dataset) == (32, 48)
        label = dataset[0].label
        assert label is not None
        assert label.dtype == np.uint8
        assert set(np.unique(label)) <= {*range(len(dataset.classes)), 255}


def test_synthetic_splits_are_disjoint_and_fixed_by_the_seed() -> None:
    section = SyntheticData(format="synthetic", size=(32, 64), train=2, val=2, seed=3)
    train, again, val = (open_dataset(section, split) for split in ("train", "train", "val"))
    assert (train[1].image == again[1].image).all()
    assert (train[1].image != val[1].image).any()
    other = open_dataset(section.model_copy(update={"seed": 4}), "train")
    assert (train[1].image != other[1].image).any()
    with pytest.raises(UserError, match="--split test: the synthetic data set has train and val only"):
        open_dataset(section, "test")


def test_synthetic_scenes_are_drawn_once_and_its_splits_are_disjoint() -> None:
    data = SyntheticData(format="synthetic", size=(64, 96), train=3, val=2)
    train, val = Synthetic(data, "train"), Synthetic(data, "val")
    assert (len(train), len(val)) == (3, 2)
    assert train[1] is Synthetic(data, "train")[1]
    assert {train[i].name for i in range(3)}.isdisjoint(val[i].name for i in range(2))
    with pytest.raises(ValueError, match="read-only"):
        train[0].image[0] = 0
    with pytest.raises(UserError, match="train and val only"):
        Synthetic(data, "test")


def test_synthetic_scenes_are_kept_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "CACHE_BYTES", 2 * 4 * 32 * 48)
    synthetic._drawing.cache_clear()
    train = Synthetic(SyntheticData(format="synthetic", size=(32, 48), train=3), "train")
    first, second, third = train[0], train[1], train[2]
    assert train[1] is second
    assert train[2] is third
    assert train[0] is not first
    synthetic._drawing.cache_clear()
