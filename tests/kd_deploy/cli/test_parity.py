"""`kd-deploy parity` with several backends and precisions: each judged, a line each, one exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.model import Model

CHAIN = ("--backend", "torch", "--backend", "onnxruntime-cpu", "--precision", "fp32", "--precision", "fp16")


@pytest.fixture
def own(precise: Path, tmp_path: Path) -> Path:
    """The bundle of every precision, to write to."""
    return Path(shutil.copytree(precise, tmp_path / "bundle"))


@pytest.fixture
def data(trained: Path) -> Path:
    return trained.parent / "camvid"


def judged(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["candidate"]["backend"], entry["candidate"]["precision"]) for entry in result["results"]]


def test_the_chain_from_torch_to_the_device(own: Path, data: Path, kd: Any) -> None:
    for source, golden in (((), True), (("--data", data), False)):
        outcome = kd("parity", own, *CHAIN, *source, "--json")
        result = json.loads(outcome.out)
        assert (outcome.code, result["verdict"]) == (0, "pass")
        assert judged(result) == [
            ("torch", "fp32"),
            ("onnxruntime-cpu", "fp32-cpu"),
            ("onnxruntime-cpu", "fp16"),
        ]
        assert all(entry["golden"] is golden for entry in result["results"])
        named = (None, None) if golden else ("camvid camvid", "val")
        assert {(entry["data"], entry["split"]) for entry in result["results"]} == {named}
        kept = [entry for entry in Bundle.open(own).ledger() if entry["golden"] is golden]
        assert all(entry in kept for entry in result["results"])
    assert all(abs(entry["boundary_drop"]) <= 1 for entry in result["results"])
    assert kd("parity", own, *CHAIN).out.count(" pass ") == 3


def test_results_of_another_split_or_folder_stay_apart(
    own: Path, data: Path, tmp_path: Path, kd: Any
) -> None:
    before = [entry for entry in Bundle.open(own).ledger() if "role" not in entry]
    assert {(entry["data"], entry["split"]) for entry in before} == {("camvid", "val")}  # the export's
    other = shutil.copytree(data, tmp_path / "other")
    for source in (("--data", data), ("--data", data, "--split", "train"), ("--data", other)):
        outcome = kd("parity", own, *source)
        assert outcome.code == 0
    assert "camvid other val frames, worst class" in outcome.out
    after = Bundle.open(own).ledger()[-3:]
    found = [(entry["data"], entry["split"]) for entry in after]
    assert found == [("camvid camvid", "val"), ("camvid camvid", "train"), ("camvid other", "val")]
    assert kd("report", own, "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "10 of camvid camvid train" in page
    assert "labelled frames of camvid other, val." in page


def test_an_id_of_no_class_has_a_verdict_a_report_and_an_entry(
    own: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "run", lambda self, frames: np.full(frames.shape[:3], 200, np.uint8))
    outcome = kd("parity", own, "--json")
    assert outcome.code == 4
    assert "class id 200, the classes end at 10" in json.loads(outcome.out)["reasons"][0]
    assert json.loads((own / "parity.json").read_text())["verdict"] == "fail"
    assert Bundle.open(own).ledger()[-1]["verdict"] == "fail"


def test_one_that_fails_fails_the_chain(
    own: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Model.run

    def wrong(self: Model, frames: Any) -> Any:
        masks = run(self, frames)
        return np.flip(masks, axis=2) if self.describe().precision == "fp16" else masks

    monkeypatch.setattr(Model, "run", wrong)
    outcome = kd("parity", own, *CHAIN, "--pictures", tmp_path / "worst")
    assert outcome.code == 4
    assert outcome.out.count(" pass ") == 2
    assert "onnxruntime-cpu fp16: " in outcome.out
    folders = {path.name for path in (tmp_path / "worst").iterdir()}
    assert folders == {"torch-fp32", "onnxruntime-cpu-fp32", "onnxruntime-cpu-fp16"}
    result = json.loads(kd("parity", own, *CHAIN, "--json").out)
    assert result["verdict"] == "fail"
    assert [entry["verdict"] for entry in result["results"]] == ["pass", "pass", "fail"]


@pytest.mark.parametrize(("agreement", "code"), [(98.0, 1), (100.5, 4)])
def test_pictures_that_cannot_be_written_hide_no_verdict(
    tiny: Bundle, tmp_path: Path, kd: Any, agreement: float, code: int
) -> None:
    manifest = json.loads((tiny.path / "manifest.json").read_text())
    manifest["thresholds"]["min_pixel_agreement"]["fp32"] = agreement
    (tiny.path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "file").touch()
    outcome = kd("parity", tiny.path, "--pictures", tmp_path / "file" / "worst", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out)["verdict"] == ("fail" if code == 4 else "pass")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file' / 'worst'}")


def test_a_damaged_ledger_hides_no_verdict(tiny: Bundle, kd: Any) -> None:
    (tiny.path / "ledger.json").write_text("[")
    for command in (("parity",), ("benchmark", "--fastest", "--seconds", 0)):
        outcome = kd(command[0], tiny.path, *command[1:], "--backend", "onnxruntime-cpu")
        assert (outcome.code, "pass" in outcome.out) == (0, True)
        assert f"not kept: {tiny.path / 'ledger.json'}: is damaged" in outcome.err


def test_torch_alone_knows_float32_alone(own: Path, kd: Any) -> None:
    outcome = kd("parity", own, "--backend", "torch", "--precision", "fp16")
    assert outcome.code == 1
    assert outcome.error.startswith("--precision fp16: the torch backend is the fp32 reference")


def test_the_golden_limits_of_int8_are_its_own(own: Path, kd: Any) -> None:
    result = json.loads(kd("parity", own, "--precision", "int8", "--json").out)
    assert result["thresholds"] == Bundle.open(own).golden_limits("int8")
    assert result["thresholds"]["min_pixel_agreement"] > Bundle.open(own).min_agreement("int8")
    assert result["verdict"] == "pass"
