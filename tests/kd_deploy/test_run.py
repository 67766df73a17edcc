"""The RUN folder: who may claim it, what it holds, and what a damaged one says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.load import load_recipe
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.train import distill, train


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def create(path: Path, recipe: Any, *, resume: bool = False, teacher: str | None = None) -> Run:
    return Run.create(path, recipe, "student", teacher=teacher, resume=resume)


@pytest.fixture
def tiny(recipe: Path) -> Any:
    return load_recipe(str(recipe))


def test_a_finished_run_holds_the_designed_files(deeplab: Any) -> None:
    files = {p.relative_to(deeplab.run).as_posix() for p in deeplab.run.rglob("*") if p.is_file()}
    (events,) = (name for name in files if name.startswith("events.out.tfevents."))
    assert files - {events} == {
        "recipe.yaml",
        "run.json",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "student.safetensors",
        "summary.json",
    }
    run = Run.open(deeplab.run)
    assert (run.role, run.teacher) == ("student", str(deeplab.teacher))
    assert run.recipe == load_recipe(str(deeplab.recipe))
    assert Run.open(deeplab.teacher).weights.name == "teacher.safetensors"


def test_the_recipe_is_kept_with_its_overrides(tiny: Any, recipe: Path, tmp_path: Path) -> None:
    changed = load_recipe(str(recipe), ["train.lr=0.5"])
    create(tmp_path / "run", changed)
    assert load_recipe(str(tmp_path / "run" / "recipe.yaml")) == changed != tiny


def test_a_taken_folder_is_refused_unchanged(deeplab: Any, tiny: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    before = snapshot(run)
    with pytest.raises(UserError, match="run: exists already; --resume goes on with a run, or choose"):
        distill(tiny, run, teacher=str(deeplab.teacher), device="cpu")
    assert snapshot(run) == before
    other = tmp_path / "notes"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="notes: exists already"):
        create(other, tiny)
    assert snapshot(other) == {"notes.txt": b"mine"}


def test_an_empty_folder_may_be_claimed(tiny: Any, tmp_path: Path) -> None:
    create(tmp_path, tiny)
    assert Run.open(tmp_path).role == "student"


def test_resuming_with_another_recipe_names_the_line(recipe: Path, tiny: Any, tmp_path: Path) -> None:
    create(tmp_path / "run", tiny)
    before = snapshot(tmp_path / "run")
    other = load_recipe(str(recipe), ["train.lr=0.5"])
    with pytest.raises(
        UserError, match=r"the run has 'lr: 0.002', the command 'lr: 0.5'; give \S+recipe.yaml"
    ):
        create(tmp_path / "run", other, resume=True)
    with pytest.raises(UserError, match="the run has 'teacher: None', the command 'teacher: there'"):
        create(tmp_path / "run", tiny, resume=True, teacher="there")
    with pytest.raises(UserError, match="the run has 'role: student', the command 'role: teacher'"):
        Run.create(tmp_path / "run", tiny, "teacher", teacher=None, resume=True)
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize("held", [[], ["recipe.yaml"]])
def test_resuming_what_a_kill_left_of_a_creation(tiny: Any, tmp_path: Path, held: list[str]) -> None:
    """run.json is the last that a creation writes."""
    create(tmp_path / "whole", tiny)
    (tmp_path / "run").mkdir()
    for name in held:
        shutil.copy(tmp_path / "whole" / name, tmp_path / "run" / name)
    (tmp_path / "run" / ".run.0123abcd.tmp.json").write_text("{")
    create(tmp_path / "run", tiny, resume=True)
    assert snapshot(tmp_path / "run") == snapshot(tmp_path / "whole")


def test_a_recipe_that_is_the_users_is_not_replaced(tiny: Any, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe.read_text())
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=f"^{tmp_path}: is no run; "):
        create(tmp_path, tiny, resume=True)
    assert snapshot(tmp_path) == before


def test_resuming_removes_what_a_kill_left_half_written(tiny: Any, tmp_path: Path) -> None:
    run = create(tmp_path / "run", tiny)
    run.save_checkpoint("last", {"step": 1})
    before = snapshot(run.path)
    (run.path / ".summary.0123abcd.tmp.json").write_text("{")
    (run.path / "checkpoints" / ".last.0123abcd.tmp.pt").write_text("half")
    create(run.path, tiny, resume=True)
    assert snapshot(run.path) == before


def test_resuming_what_is_no_run(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"^{tmp_path}: is no run; "):
        create(tmp_path, tiny, resume=True)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(UserError, match=f"^{tmp_path}: is no run; "):
        Run.open(tmp_path)


def test_a_file_in_the_place_of_a_folder(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file: exists already"):
        create(tmp_path / "file", tiny)
    with pytest.raises(UserError, match=r"run: cannot be written \(Not a directory\)"):
        create(tmp_path / "file" / "run", tiny)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unfinished_run_has_no_summary(tiny: Any, tmp_path: Path) -> None:
    run = create(tmp_path / "run", tiny)
    with pytest.raises(UserError, match="run: the run is not finished; go on with --resume"):
        run.summary()


def test_lines_after_the_checkpoint_are_forgotten(tiny: Any, tmp_path: Path) -> None:
    run = create(tmp_path / "run", tiny)
    for step in (1, 2, 3):
        run.log({"step": step})
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "lo')  # cut off by a kill
    run.forget_after(2)
    assert list(run.records()) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_damaged_checkpoint_is_named(deeplab: Any, tmp_path: Path, kept: int) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    last = run / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(UserError, match=f"^{last}: is damaged; "):
        Run.open(run).load_checkpoint("last")


def test_a_full_disk_keeps_the_old_checkpoint(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(tmp_path / "run", tiny)
    run.save_checkpoint("last", {"step": 1})

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        UserError, match=r"last.pt: cannot be written \(No space left on device\); free space"
    ):
        run.save_checkpoint("last", {"step": 2})
    with pytest.raises(UserError, match=r"student.safetensors: cannot be written \(No space"):
        run.save_weights({})
    monkeypatch.undo()
    assert run.load_checkpoint("last") == {"step": 1}
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["last.pt"]
    assert not run.weights.exists()


def test_summary_names_what_a_number_needs(deeplab: Any) -> None:
    summary = json.loads((deeplab.run / "summary.json").read_text())
    assert summary["terms"] == ["ce", "kd", "bpkd.body"]
    assert summary["teacher"] == str(deeplab.teacher)
    assert (summary["seed"], summary["iterations"], summary["weights_of_step"]) == (0, 8, 8)
    assert summary["seconds"] > 0
    assert summary["seconds_per_step"] == pytest.approx(summary["seconds"] / 8, abs=0.01)
    assert summary["versions"].keys() >= {"python", "torch", "kd-deploy"}
    assert summary["device"]
    assert summary["peak_memory_bytes"] > 1e8
    assert "commit" in summary
    last = [json.loads(line) for line in (deeplab.run / "metrics.jsonl").read_text().splitlines()][-1]
    for key in ("miou", "boundary_iou", "pixel_accuracy", "classes", "images"):
        assert summary[key] == last[key]


def test_damaged_data_leave_no_run_behind(own_camvid: Path, recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(str(recipe), [f"data.root={own_camvid}"])
    file = own_camvid / "val" / "002.jpg"  # found before the first step, not at the first evaluation
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(UserError, match=f"^{file}: is truncated"):
        train(loaded, "student", tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
