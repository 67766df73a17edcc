"""Methods grouped over seeds, measured against the student alone and the teacher, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from kd_deploy.compare import Comparison, compare, gap_closed
from kd_deploy.groups import Group
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.runs import write_run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A teacher, and three seeds of the student alone and of two methods."""
    write_run(tmp_path / "teacher", "teacher", 50.0, "train.iterations=400")
    for seed, shift in enumerate((-1.0, 0.0, 1.0)):
        write_run(tmp_path / f"alone-{seed}", "alone", 40.0 + shift, seed=seed)
        write_run(tmp_path / f"kd-{seed}", "kd", 45.0 + 2 * shift, seed=seed, seconds_per_step=0.75)
        write_run(tmp_path / f"pair-{seed}", "pair", 38.0 + shift, seed=seed)
    return tmp_path


def of(study: Path, *names: str) -> Comparison:
    return compare([study / name for name in names] if names else sorted(study.iterdir()))


def by_name(comparison: Comparison) -> dict[str, Group]:
    return {group.name: group for group in comparison.groups}


def refusal(*paths: Path) -> str:
    with pytest.raises(UserError) as refused:
        compare(paths)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_seeds_are_one_group_and_the_best_method_stands_first(study: Path) -> None:
    comparison = of(study)
    assert [group.name for group in comparison.groups] == ["teacher", "student alone", "kd", "kd + cwd"]
    kd = by_name(comparison)["kd"]
    assert [run.seed for run in kd.runs] == [0, 1, 2]
    assert kd.spread("miou").mean == pytest.approx(45.0)
    assert kd.spread("miou").deviation == pytest.approx(stdev([43.0, 45.0, 47.0]))
    assert by_name(comparison)["teacher"].spread("miou").deviation is None


def test_gap_gain_and_cost_are_against_the_student_alone(study: Path) -> None:
    groups = by_name(of(study))
    assert groups["kd"].gap_closed == pytest.approx(50.0)  # (45 - 40) / (50 - 40)
    assert groups["kd + cwd"].gap_closed == pytest.approx(-20.0)
    assert groups["kd"].boundary_gain == pytest.approx(2.5)
    assert groups["kd"].cost == pytest.approx(1.5)
    for name in ("teacher", "student alone"):
        assert (groups[name].gap_closed, groups[name].boundary_gain, groups[name].cost) == (None, None, None)


def test_shares_of_the_gap() -> None:
    assert gap_closed(50.0, 40.0, 45.0) == pytest.approx(50.0)
    assert gap_closed(50.0, 40.0, 38.0) == pytest.approx(-20.0)
    assert gap_closed(40.0, 40.0, 45.0) is None


def test_the_teacher_is_found_where_it_taught_or_given(study: Path) -> None:
    named = of(study, "alone-0", "kd-0")
    assert [group.name for group in named.groups] == ["teacher", "student alone", "kd"]
    assert by_name(named)["kd"].gap_closed == pytest.approx(100 * (43 - 39) / (50 - 39))
    moved = study / "moved"
    (study / "teacher").rename(moved)
    gone = of(study, "alone-0", "kd-0")
    assert by_name(gone)["kd"].gap_closed is None
    assert any("is no run that can be read here" in note for note in gone.notes)
    assert any("no gap for kd" in note for note in gone.notes)
    assert by_name(of(study, "alone-0", "kd-0", "moved"))["kd"].gap_closed == pytest.approx(100 * 4 / 11)


def test_a_teacher_of_other_data_is_left_out(study: Path) -> None:
    shutil.rmtree(study / "teacher")
    write_run(study / "teacher", "teacher", 50.0, "data.val=32")
    comparison = of(study, "alone-0", "kd-0")
    assert [group.name for group in comparison.groups] == ["student alone", "kd"]
    assert any("data.val is 32 against 64" in note for note in comparison.notes)


def test_teachers_of_several_seeds_are_one_method(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "alone", "alone", 40.0)]
    for seed in (0, 1):
        teacher = write_run(tmp_path / str(seed) / "teacher", "teacher", 50.0 + 2 * seed, seed=seed)
        runs.append(write_run(tmp_path / str(seed) / "kd", "kd", 45.5, seed=seed, teacher=teacher))
    groups = by_name(compare(runs))
    assert {name: len(group.runs) for name, group in groups.items()} == {
        "teacher": 2,
        "student alone": 1,
        "kd": 2,
    }
    assert groups["kd"].gap_closed == pytest.approx(100 * 5.5 / 11)


def test_without_the_student_alone_there_is_no_gap(study: Path) -> None:
    comparison = of(study, "teacher", "kd-0")
    assert comparison.baseline is None
    assert by_name(comparison)["kd"].gap_closed is None
    assert any("no student alone" in note for note in comparison.notes)


def test_one_method_with_other_settings_is_told_apart(study: Path) -> None:
    write_run(study / "kd3", "kd3", 44.0)
    write_run(study / "warm", "kd", 44.5, "distill.0.options.temperature=4", seed=5)
    names = by_name(of(study)).keys()
    assert names >= {
        "kd (weight=1, options.temperature=1)",
        "kd (weight=3, options.temperature=1)",
        "kd (weight=1, options.temperature=4)",
    }


def test_the_order_of_terms_makes_no_method(study: Path) -> None:
    write_run(study / "swapped", "swapped", 38.5, seed=7)
    assert len(by_name(of(study))["kd + cwd"].runs) == 4


def test_the_best_student_alone_is_the_measure_and_other_settings_are_named(study: Path) -> None:
    write_run(study / "tuned", "alone", 42.0, "train.lr=0.5")
    comparison = of(study)
    assert comparison.baseline is not None
    assert comparison.baseline.name == "student alone (train.lr=0.5)"
    assert by_name(comparison)["kd"].gap_closed == pytest.approx(100 * 3 / 8)
    assert any(
        note.startswith("train.lr differs: ") and "0.5 (student alone (" in note for note in comparison.notes
    )


def test_another_cross_entropy_is_named(study: Path) -> None:
    write_run(study / "weighed", "kd3", 44.0, "supervised={ohem: {}, weight: 2}")
    notes = of(study, "alone-0", "weighed").notes
    assert any(note.startswith("ce.ohem") and "absent" in note for note in notes)
    assert not any(note.startswith("ce.weight") for note in notes)


def test_other_machines_are_named(study: Path) -> None:
    assert not any("device" in note for note in of(study).notes)
    write_run(study / "kd-9", "kd", 45.0, seed=9, device="a GPU")
    assert any("a CPU and a GPU (kd): seconds a step" in note for note in of(study).notes)


def test_several_processes_are_named(study: Path) -> None:
    write_run(study / "kd-9", "kd", 45.0, seed=9, processes=2)
    assert any("2 processes on a CPU" in note for note in of(study).notes)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.size=[64, 128]", "data.size is 64x128 against 128x256"),
        ("data.seed=3", "data.seed is 3 against 0"),
        ("train.iterations=99", "train.iterations is 99 against 240"),
        ("train.batch_size=4", "train.batch_size is 4 against 8"),
        ("train.keep=best", "train.keep is best against last"),
        ("evaluate.window=[64, 96]", "evaluate.window is 64x96 against none"),
        ("evaluate.scales=[0.5, 1]", "evaluate.scales is [0.5, 1.0] against [1.0]"),
        ("evaluate.flip=true", "evaluate.flip is True against False"),
        ("student.encoder=resnet18", "student.encoder is resnet18 against mobilenet_v2"),
    ],
)
def test_unlike_runs_are_refused(study: Path, override: str, said: str) -> None:
    first = of(study, "alone-0").settings
    key = said.partition(" is ")[0]
    assert key in first
    other = write_run(study / "other", "kd", 45.0, override, seed=8)
    line = refusal(study / "alone-0", other)
    assert line.startswith(f"{other}: {said} in ")
    assert str(study / "alone-0") in line


def test_other_views_or_strides_are_no_one_evaluation(study: Path) -> None:
    overrides = ("evaluate.window=[64, 96]", "evaluate.every=7")
    slid = write_run(study / "slid", "alone", 41.0, *overrides, seed=8)
    same = write_run(study / "same", "alone", 41.0, *overrides, "evaluate.stride=[43, 64]", seed=9)
    assert len(compare([slid, same]).groups[0].runs) == 2
    dense = write_run(study / "dense", "alone", 41.0, *overrides, "evaluate.stride=[32, 32]", seed=9)
    assert "evaluate.stride is 32x32 against 43x64" in refusal(slid, dense)


def test_another_split_of_the_same_name_is_refused(study: Path) -> None:
    fewer = write_run(study / "fewer", "kd", 45.0, seed=8, images=63)
    assert "images is 63 against 64" in refusal(study / "alone-0", fewer)
    renamed = write_run(study / "renamed", "kd", 45.0, seed=8, classes={"sky": 1.0, "street": 2.0})
    assert "classes is sky, street against sky, road" in refusal(study / "alone-0", renamed)


def test_the_folder_of_the_data_may_differ(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / place, "alone", 40.0, f"data={{format: camvid, root: {place}}}", seed=seed)
        for seed, place in enumerate(("here", "there"))
    ]
    assert len(compare(runs).groups[0].runs) == 2


def test_what_is_no_finished_run_is_refused(study: Path) -> None:
    assert refusal(study).startswith(f"{study}: is no run")
    (study / "kd-0" / "summary.json").write_text("{")
    assert "summary.json: is damaged" in refusal(study / "kd-0")
    (study / "kd-0" / "summary.json").write_text("{}")
    assert "summary.json: is damaged" in refusal(study / "kd-0")
    (study / "kd-0" / "summary.json").unlink()
    assert "is not finished" in refusal(study / "alone-0", study / "kd-0")
    unlabelled = write_run(study / "none", "kd", 1.0, boundary_iou=None)
    assert "holds no labels" in refusal(unlabelled)


def test_a_seed_counts_once(study: Path) -> None:
    again = Path(shutil.copytree(study / "kd-1", study / "again"))
    assert f"{again}: is seed 1 of kd, and so is {study / 'kd-1'}" in refusal(study / "kd-1", again)
    assert len(of(study, "kd-1", "kd-1").of("kd")[0].runs) == 1


def test_json(study: Path) -> None:
    value: Any = json.loads(json.dumps(of(study, "alone-0", "kd-0").to_json()))
    assert value["baseline"] == "student alone"
    assert value["settings"]["student.encoder"] == "mobilenet_v2"
    (kd,) = (group for group in value["groups"] if group["name"] == "kd")
    assert (kd["role"], kd["terms"], kd["n"]) == ("student", ["kd"], 1)
    assert kd["miou"] == {"mean": 43.0, "deviation": None}
    assert kd["runs"][0]["run"] == str(study / "kd-0")
    assert list(kd["trimap_iou"]) == list(kd["runs"][0]["trimap_iou"]) == ["1", "2", "4", "8", "16"]
    assert kd["trimap_iou"]["8"] == {"mean": 37.0, "deviation": None}


def test_runs_of_an_older_version_have_no_trimap_iou(study: Path) -> None:
    write_run(study / "old", "alone", 40.0, seed=9, trimap_iou={})
    value: Any = json.loads(json.dumps(of(study).to_json()))
    assert "no trimap IoU for student alone: not in summary.json; kd-deploy evaluate" in "\n".join(
        value["notes"]
    )
    shown = {group["name"]: group["trimap_iou"]["4"] for group in value["groups"]}
    assert shown["student alone"] is None  # no mean over some of its seeds
    assert shown["kd"]["mean"] == pytest.approx(45 - 10 + 2)
    assert not any("trimap" in note for note in of(study, "alone-0", "kd-0").notes)
