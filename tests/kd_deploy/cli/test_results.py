"""`kd-deploy compare` and `report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.cli.results import duration
from tests.kd_deploy.runs import write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    write_run(tmp_path / "teacher", "teacher", 50.0)
    alone = [write_run(tmp_path / f"a{seed}", "alone", 40.0 + seed, seed=seed) for seed in (0, 2)]
    return [*alone, write_run(tmp_path / "kd", "kd", 45.5, seed=1, seconds_per_step=0.6)]


def test_compare_prints_a_table(runs: list[Path], kd: Any) -> None:
    outcome = kd("compare", *runs, "--seeds")
    assert (outcome.code, outcome.err) == (0, "")
    for word in (
        "student alone",
        "41.00 ± 1.41",
        "50 %",
        "+2.25",
        "1.20 x",
        "0: 40.00, 2: 42.00",
        "one seed has no",
    ):
        assert word in outcome.out
    assert "0: 40.00" not in kd("compare", *runs).out


def test_a_table_fits_into_120_columns(tmp_path: Path, kd: Any) -> None:
    runs = []
    for seed in (0, 1):
        for method in ("alone", "long"):
            spread = {"seed": seed, "seconds_per_step": 1.2345, "seconds": 12_000.0}
            runs.append(write_run(tmp_path / f"{method}{seed}", method, 40.0 + seed, **spread))
    table = [line for line in kd("compare", *runs).out.splitlines() if line[0] in "┏┃┡│└"]
    methods = max(len(line.split("│")[1]) for line in table if line[0] == "│")
    assert max(map(len, table)) - methods <= 120 - len(" brd.boundary + ")  # a term a line
    assert "40.50 ± 0.71" in table[5]


def test_compare_as_markdown_and_json(runs: list[Path], kd: Any) -> None:
    lines = kd("compare", *runs, "--markdown").out.splitlines()
    assert lines[0] == (
        "| method | seeds | mIoU | gap closed | boundary IoU | gain | trimap IoU | ms a step | cost | time a run |"
    )
    assert lines[1] == "| " + " | ".join(["---"] * 10) + " |"
    assert lines[4] == "| kd | 1 | 45.50 | 50 % | 22.75 | +2.25 | 37.50 | 600 | 1.20 x | 100 s |"
    assert "trimap IoU: of the pixels within 4 of a boundary" in lines[-3]
    value = json.loads(kd("compare", *runs, "--json").out)
    assert [group["n"] for group in value["groups"]] == [1, 2, 1]
    assert kd("compare", *runs, "--json", "--markdown").code == 2


def test_compare_plots(runs: list[Path], tmp_path: Path, kd: Any) -> None:
    assert kd("compare", *runs, "--plot", tmp_path / "m.svg").code == 0
    assert "<svg" in (tmp_path / "m.svg").read_text()
    assert kd("compare", *runs, "--plot", tmp_path / "m.jpg").code == 2
    (tmp_path / "file").touch()
    assert "cannot be written" in kd("compare", *runs, "--plot", tmp_path / "file" / "m.png").error


def test_compare_refuses_in_one_line(runs: list[Path], tmp_path: Path, kd: Any) -> None:
    outcome = kd("compare", *runs, tmp_path)
    assert outcome.code == 1
    assert outcome.error.startswith(f"{tmp_path}: is no run")
    assert kd("compare").code == 2


def test_durations() -> None:
    assert [duration(s) for s in (75.4, 119.9, 121, 7190, 12000)] == [
        "75 s",
        "120 s",
        "2 min",
        "2 h 0 min",
        "3 h 20 min",
    ]


def test_report_of_a_bundle(own_bundle: Path, tmp_path: Path, kd: Any) -> None:
    outcome = kd("report", own_bundle)
    assert (outcome.code, outcome.out.strip()) == (0, str(own_bundle / "report.html"))
    assert kd("report", own_bundle).code == 0  # in the place of the first
    assert kd("parity", own_bundle).code == 0  # which is no part of the bundle
    assert kd("report", own_bundle, "--baseline", tmp_path).code == 2


def test_report_of_a_run(deeplab: Any, tmp_path: Path, kd: Any) -> None:
    page = tmp_path / "page.html"
    assert kd("report", deeplab.run, "-o", page, "--device", "cpu").code == 0
    assert "this run" in page.read_text()
    page.write_text("notes")
    assert "is no report of kd-deploy" in kd("report", deeplab.run, "-o", page).error
    assert "is no run" in kd("report", tmp_path).error
