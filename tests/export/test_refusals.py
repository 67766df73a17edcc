"""Where a bundle may be written: never over what is not one, nor over what it is made from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.export.refusals import check_place, enough_memory
from kd_deploy.runtime.errors import UserError


def make_bundle(path: Path, **changes: Any) -> Path:
    """As much of a bundle as is looked at."""
    path.mkdir(parents=True)
    manifest = {"schema": 2, "models": {}, "golden": [], "files": {"README.md": "", "golden/0.png": ""}}
    (path / "manifest.json").write_text(json.dumps(manifest | changes))
    (path / "README.md").touch()
    for folder in ("golden", "engines"):
        (path / folder).mkdir()
    return path


def refusal(path: Path, **options: Any) -> str:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        check_place(path, **{"replace": True, **options})
    assert sorted(path.parent.rglob("*")) == before
    return str(caught.value)


def test_a_free_place_and_a_bundle_to_replace(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "b", replace=False)
    check_place(make_bundle(tmp_path / "b"), replace=True)
    check_place(make_bundle(tmp_path / "of another version", schema=1), replace=True)
    assert "exists already" in refusal(tmp_path / "b", replace=False)


@pytest.mark.parametrize(
    "manifest",
    [
        '{"name": "My app"}',
        "{}",
        "[]",
        "no JSON",
        '{"schema": 2, "models": {}, "files": {}}',
        "[" * 9999,
        '{"schema": 2, "models": {}, "golden": [], "files": [1]}',
    ],
)
def test_a_folder_with_another_programs_manifest_stays(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "manifest.json").write_text(manifest)
    assert "is no bundle, so --force does not replace it" in refusal(tmp_path / "app")


def test_what_somebody_put_into_a_bundle_stays(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    (bundle / ".README.0123abcd.tmp.md").touch()  # of a writer that was killed
    check_place(bundle, replace=True)
    (bundle / "out.mp4").touch()
    assert refusal(bundle).startswith(f"{bundle}: holds what kd-deploy did not write (out.mp4)")


def test_what_it_is_made_from_stays(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    run = bundle / "golden" / "run"
    run.mkdir()
    (tmp_path / "link").symlink_to(run)
    for source in (run, tmp_path / "link", bundle):
        assert refusal(bundle, inputs=[tmp_path, source]) == (
            f"{bundle}: holds {source}, which --force would remove; choose another name"
        )


def test_the_current_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "b")
    monkeypatch.chdir(bundle / "golden")
    assert "the current folder lies in it" in refusal(bundle)
    monkeypatch.chdir(bundle)
    with pytest.raises(UserError, match=r"^\.: the current folder lies in it"):
        check_place(Path(), replace=True)


def test_a_place_that_can_never_be_written(tmp_path: Path) -> None:
    assert "cannot be written (File name too long)" in refusal(tmp_path / ("n" * 300))
    (tmp_path / "file").touch()
    assert "cannot be written (Not a directory)" in refusal(tmp_path / "file" / "b")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert "exists already" in refusal(tmp_path / "nowhere", replace=False)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root looks into every folder")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(UserError, match="cannot be written"):
        check_place(tmp_path / "locked" / "b", replace=False)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")]
)
def test_too_little_memory_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"^64x96: the export ran out of memory \(.*smaller --size"),
        enough_memory((64, 96)),
    ):
        raise error


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="a bug"), enough_memory((64, 96)):
        raise RuntimeError("a bug")
