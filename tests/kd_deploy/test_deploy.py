"""What a run says of itself is held to what a manifest may say, before the work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def own_run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def drop(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda summary: summary.pop(key)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("commit"), "commit is missing"),
        (drop("miou"), "miou is missing"),
        (drop("terms"), "terms is missing"),
        (lambda summary: summary.update(miou="high"), "miou must be a number or null, not 'high'"),
    ],
)
def test_a_summary_that_was_edited(
    change: Callable[[dict[str, Any]], object], said: str, own_run: Path, tmp_path: Path, kd: Any
) -> None:
    file = own_run / "summary.json"
    summary = json.loads(file.read_text())
    change(summary)
    file.write_text(json.dumps(summary))
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error == f"{file}: is damaged ({said}); copy the run again, or train it anew"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["{", "[]", "\ud800"])
def test_a_summary_that_is_none(text: str, own_run: Path, tmp_path: Path, kd: Any) -> None:
    (own_run / "summary.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error.startswith(f"{own_run / 'summary.json'}: is damaged (")


def test_a_run_without_weights(own_run: Path, tmp_path: Path, kd: Any) -> None:
    (own_run / "student.safetensors").unlink()
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error.startswith(f"{own_run / 'student.safetensors'}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
