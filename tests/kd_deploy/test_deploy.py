"""What a run says of itself is held to what a manifest may say, before the work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.run import Run
from kd_deploy.scores import run_scores


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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("versions", None, "is damaged"),
        ("images", ..., "is damaged"),
        ("miou", float("nan"), "NaN is no number"),
    ],
)
def test_a_summary_whose_scores_cannot_be_read(
    key: str, value: Any, said: str, own_run: Path, tmp_path: Path, kd: Any
) -> None:
    file = own_run / "summary.json"
    summary = json.loads(file.read_text()) | {key: value}
    file.write_text(json.dumps({name: kept for name, kept in summary.items() if kept is not ...}))
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error.startswith(f"{file}: is damaged (")
    assert said in outcome.error
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_run_of_no_known_role(own_run: Path, tmp_path: Path, kd: Any) -> None:
    facts = json.loads((own_run / "run.json").read_text())
    (own_run / "run.json").write_text(json.dumps(facts | {"role": "pupil"}))
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert (outcome.code, outcome.error.partition(";")[0]) == (1, f"{own_run}: is no run")


@pytest.mark.parametrize("damage", ["{", None])
def test_a_damaged_teacher_has_no_scores_and_stops_nothing(
    damage: str | None, own_run: Path, tmp_path: Path
) -> None:
    teacher = Path(shutil.copytree(own_run, tmp_path / "teacher"))
    (teacher / "summary.json").unlink()
    if damage:
        (teacher / "summary.json").write_text(damage)
    else:
        (teacher / "summary.json").mkdir()
    run = replace(Run.open(own_run), teacher=str(teacher))
    assert [entry["role"] for entry in run_scores(run)] == ["student"]


def test_a_taken_place_is_refused_before_the_data_are_read(
    own_run: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.deploy.open_dataset", lambda *_: pytest.fail("the data were read"))
    outcome = kd("export", own_run, "-o", tmp_path)
    assert (outcome.code, "exists already" in outcome.error) == (1, True)
    (tmp_path / "manifest.json").write_text("{}")
    outcome = kd("export", own_run, "-o", tmp_path, "--force")
    assert (outcome.code, "is no bundle, so --force" in outcome.error) == (1, True)
    assert own_run.is_dir()


def test_a_run_without_weights(own_run: Path, tmp_path: Path, kd: Any) -> None:
    (own_run / "student.safetensors").unlink()
    outcome = kd("export", own_run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error.startswith(f"{own_run / 'student.safetensors'}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
