"""Nothing half-written under its final name, and nothing lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file, atomic_folder, is_temporary, remove_temporaries, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.png"
    with atomic_file(target) as temporary:
        assert temporary.suffix == ".png"  # writers go by it
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["new", "new/out.png"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(UserError) as caught, atomic_file(target) as temporary:
        temporary.write_text("half")
        Path("/dev/full").write_text("x")
    assert str(caught.value) == (
        f"{target}: cannot be written (No space left on device); free space or choose another place"
    )
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_durable_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced = tmp_path / "out.txt", []
    target.write_text("old")

    def sync(file: int) -> None:
        synced.append((os.fstat(file).st_size, target.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    with atomic_file(target, durable=True) as temporary:
        temporary.write_text("whole")
    assert synced == [(5, "old")]
    with atomic_file(target) as temporary:
        temporary.write_text("again")
    assert len(synced) == 1


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = [".hidden", "a.tmp", ".cache.tmp"]
    for name in (*others, ".old.0123abcd.tmp.pt", ".new.0123abcd.tmp"):
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / ".old.0123abcd.tmp.pt", (1, 1))
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "out.pt") as temporary:
        assert is_temporary(temporary)
        raise ZeroDivisionError
    assert not any(is_temporary(tmp_path / name) for name in others)
    remove_temporaries(tmp_path, older_than=3600)
    assert names(tmp_path) == sorted([*others, ".new.0123abcd.tmp"])
    remove_temporaries(tmp_path)
    assert names(tmp_path) == sorted(others)
    remove_temporaries(tmp_path / "nowhere")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for manager in (atomic_file, atomic_folder):
        with pytest.raises(UserError, match="cannot be written"), manager(tmp_path / "file" / "out"):
            raise AssertionError("there is no place to write to")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("a")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out", "out/a"]


def test_a_folder_that_exists_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out: exists already"), atomic_folder(tmp_path / "out"):
        raise AssertionError("the work began")
    assert names(tmp_path) == ["out"]


def test_a_folder_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out", replace=True) as temporary:
        (temporary / "new").write_text("new")
        raise ZeroDivisionError
    assert names(tmp_path) == ["out", "out/old"]
    with atomic_folder(tmp_path / "out", replace=True) as temporary:
        (temporary / "new").write_text("new")
    assert names(tmp_path) == ["out", "out/new"]


def test_a_folder_that_comes_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out: exists already"), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "new").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("precious")
    assert names(tmp_path) == ["out", "out/theirs"]


def test_new_folders_on_the_way_go_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a" / "b" / "c" / "out"):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"]


def test_a_folder_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "store" / "old").mkdir(parents=True)
    (tmp_path / "out").symlink_to("store")
    for replace in (True, True):
        with atomic_folder(tmp_path / "out", replace=replace) as temporary:
            (temporary / "new").write_text("new")
        assert names(tmp_path) == ["out", "store", "store/new"]
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_an_old_folder_returns_where_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    out, rename = tmp_path / "out", Path.rename
    out.mkdir()
    (out / "old").write_text("old")

    def refused(self: Path, target: Path) -> Path:
        if target == out and (self / "new").exists():
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with (
        pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt),
        atomic_folder(out, replace=True) as temporary,
    ):
        (temporary / "new").write_text("new")
    assert names(tmp_path) == ["out", "out/old"]


def test_json_is_readable_and_atomic(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    write_json(file, {"name": "Straße", "none": None})
    assert json.loads(file.read_text(encoding="utf-8")) == {"name": "Straße", "none": None}
    assert "Straße" in file.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(file, {"x": object()})
    assert names(tmp_path) == ["out.json"]
    assert "Straße" in file.read_text(encoding="utf-8")
