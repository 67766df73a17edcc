"""Decoded frames on disk: they are the reader's, never stale, and a damaged file is written again."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from kd_deploy.config.data import CamVidData, FilesData, FolderData, VocData
from kd_deploy.data.dataset import READERS, verify
from kd_deploy.data.decoded import Decoded, decoded
from kd_deploy.data.folders import FolderDataset
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.data.trees import write_folder, write_voc


def reader(data: FilesData, split: str = "train") -> FolderDataset:
    return READERS[data.format](data.root, split, data.size, data.short_side)


def kept(data: FilesData, cache: Path, split: str = "train") -> Decoded:
    return decoded(reader(data, split), data, split, cache, silent=True)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def section(own_camvid: Path) -> CamVidData:
    return CamVidData(format="camvid", root=own_camvid)


def sections(root: Path, camvid: Path) -> list[FilesData]:
    return [
        CamVidData(format="camvid", root=camvid),
        CamVidData(format="camvid", root=camvid, size=(31, 50)),
        VocData(format="voc", root=write_voc(root / "voc"), short_side=17),
        FolderData(format="folder", root=write_folder(root / "folder")),  # frames of several sizes
    ]


@pytest.mark.parametrize("split", ["train", "val"])
def test_frames_are_those_that_the_reader_decodes(
    camvid: Path, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data in sections(tmp_path, camvid):
        plain = reader(data, split)
        expected = [plain[index] for index in range(len(plain))]
        written = kept(data, tmp_path / "cache", split)
        with monkeypatch.context() as patch:
            patch.setattr(FolderDataset, "inspect", None)  # nothing is decoded again
            again = kept(data, tmp_path / "cache", split)
            assert verify(again) == verify(written)
        for dataset in (written, again):
            assert dataset.classes == plain.classes
            assert (dataset.palette == plain.palette).all()
            assert len(dataset) == len(expected)
            for frame, known in zip(dataset, expected, strict=True):  # type: ignore[call-overload]
                assert frame.name == known.name
                assert frame.image.dtype == frame.label.dtype == np.uint8
                assert np.array_equal(frame.image, known.image)
                assert np.array_equal(frame.label, known.label)
    assert len(files(tmp_path / "cache")) == 4


def test_a_changed_file_is_decoded_anew(section: CamVidData, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = kept(section, cache)[0].image.copy()
    file = section.root / "train" / "000.jpg"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    kept(section, cache)
    assert len(files(cache)) == 2
    file.write_bytes((section.root / "train" / "001.jpg").read_bytes())
    assert not np.array_equal(kept(section, cache)[0].image, before)
    (section.root / "train" / "005.jpg").unlink()
    (section.root / "trainannot" / "005.png").unlink()
    assert len(kept(section, cache)) == 5
    assert len(files(cache)) == 4


def test_what_the_ids_mean_decides_too(tmp_path: Path) -> None:
    data = FolderData(format="folder", root=write_folder(tmp_path / "folder"))
    before = kept(data, tmp_path / "cache")[0].label
    classes = data.root / "classes.txt"
    classes.write_text(classes.read_text().replace("ground: #804000", "ignore"))
    assert not np.array_equal(kept(data, tmp_path / "cache")[0].label, before)


def test_splits_and_sizes_have_files_of_their_own(section: CamVidData, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for changes in ({}, {"size": (32, 48)}, {"short_side": 32}):
            kept(section.model_copy(update=changes), tmp_path / "cache", split)
    names = [file.name.rsplit("-", 1)[0] for file in files(tmp_path / "cache")]
    assert names == ["camvid-train"] * 3 + ["camvid-val"] * 3


def shortened(content: bytes) -> bytes:
    return content[: len(content) // 2]


def lengthened(content: bytes) -> bytes:
    return content + b"\0" * 12


def emptied(content: bytes) -> bytes:
    return b""


def zeroed(content: bytes) -> bytes:
    return bytes(len(content))


def flipped(content: bytes) -> bytes:
    """One bit of a label's."""
    return content[: 4 * 64 * 96 - 5] + bytes([content[4 * 64 * 96 - 5] ^ 1]) + content[4 * 64 * 96 - 4 :]


@pytest.mark.parametrize("damage", [shortened, lengthened, emptied, zeroed, flipped])
def test_a_damaged_file_is_written_again(section: CamVidData, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    kept(section, tmp_path / "cache")
    (file,) = files(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    kept(section, tmp_path / "cache")
    assert files(tmp_path / "cache") == [file]
    assert file.read_bytes() == whole


def test_a_damaged_frame_is_named_and_nothing_is_left(section: CamVidData, tmp_path: Path) -> None:
    frame = section.root / "train" / "004.jpg"
    frame.write_bytes(frame.read_bytes()[:400])
    with pytest.raises(UserError, match=f"^{frame}: is truncated"):
        kept(section, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_what_a_killed_process_left_goes(section: CamVidData, tmp_path: Path) -> None:
    for name, age in (("old", 7200), ("new", 0)):
        left = tmp_path / "cache" / f".camvid-train-{name}.0123abcd.tmp.raw"
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    kept(section, tmp_path / "cache")
    assert [path.name for path in files(tmp_path / "cache") if ".tmp" in path.name] == [left.name]


def test_a_full_disk_is_one_line_and_nothing_is_left(section: CamVidData, tmp_path: Path) -> None:
    import resource

    cache = tmp_path / "cache"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # of 147 kB
    try:
        with pytest.raises(
            UserError, match=r"/camvid-train-\w+\.raw: cannot be written \(File too large\); "
        ):
            kept(section, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert files(cache) == []


def test_a_folder_that_cannot_be_made(section: CamVidData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); free space or choose another place$"):
        kept(section, tmp_path / "file" / "cache")


def test_a_file_in_the_place_of_the_folder(section: CamVidData, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(UserError, match=r"data.cache: \S+cache is a file; name a folder"):
        kept(section, tmp_path / "cache")


def test_a_worker_that_is_not_forked_maps_the_file_itself(section: CamVidData, tmp_path: Path) -> None:
    dataset = kept(section, tmp_path / "cache")
    sent = pickle.dumps(dataset)
    (file,) = files(tmp_path / "cache")
    assert len(sent) < file.stat().st_size / 10
    assert np.array_equal(pickle.loads(sent)[3].image, dataset[3].image)


def test_frames_cannot_be_changed(section: CamVidData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        kept(section, tmp_path / "cache")[0].image[:] = 0
