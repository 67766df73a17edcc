"""The command line from a recipe to a video: results, exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from kd_deploy.runtime.bundle import sha256
from kd_deploy.runtime.errors import INSTALL
from kd_deploy.runtime.model import Model, open_model
from tests.kd_deploy.cli.conftest import environment, start

EVALUATION = {"miou", "pixel_accuracy", "boundary_iou", "classes", "images", "backend", "precision"}
SHORT = ("--set", "train.iterations=2", "--set", "evaluate.every=2", "--device", "cpu")


# The whole way


def test_train_distill_evaluate_export_parity(recipe: Path, camvid: Path, tmp_path: Path, kd: Any) -> None:
    teacher, run, bundle = tmp_path / "teacher", tmp_path / "run", tmp_path / "bundle"
    trained = kd("train", recipe, "--role", "teacher", "-o", teacher, *SHORT)
    assert trained.code == 0
    assert "miou" in trained.out
    assert "teacher: 2/2  loss" in trained.err
    assert kd("distill", recipe, "--teacher", teacher, "-o", run, "--seed", 3, *SHORT).code == 0
    assert json.loads((run / "summary.json").read_text())["seed"] == 3
    exported = kd("export", run, "-o", bundle)
    assert (exported.code, exported.err) == (0, "")
    assert "uint8 (N, 64, 96, 3) BGR" in exported.out
    for source, options in ((run, ()), (bundle, ("--data", camvid))):
        result = json.loads(kd("evaluate", source, *options, "--json").out)
        assert result.keys() >= EVALUATION
        assert result["images"] == 4
        assert len(result["classes"]) == 11
    table = kd("evaluate", bundle, "--data", camvid)
    assert table.code == 0
    assert "pavement" in table.out
    assert "-" in table.out


def test_the_student_alone(recipe: Path, tmp_path: Path, kd: Any) -> None:
    assert kd("train", recipe, "--role", "student", "-o", tmp_path / "run", *SHORT).code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["role"], summary["terms"], summary["teacher"]) == ("student", ["ce"], None)


def test_parity_json(deployed: Any, camvid: Path, tmp_path: Path, kd: Any) -> None:
    bundle = shutil.copytree(deployed.bundle, tmp_path / "bundle")
    keys = {
        "verdict",
        "reference",
        "candidate",
        "miou_drop",
        "pixel_agreement",
        "worst_class",
        "frames",
        "golden",
    }
    golden = kd("parity", bundle, "--json")
    report = json.loads(golden.out)
    assert golden.code == 0
    assert report.keys() >= keys
    assert (report["verdict"], report["golden"], report["frames"]) == ("pass", True, 2)
    assert report["miou_drop"] is report["reference"]["miou"] is report["candidate"]["miou"] is None
    assert report["pixel_agreement"] >= 99.9
    labelled = kd("parity", bundle, "--data", camvid, "--json", "--max-miou-drop", 0.05)
    report = json.loads(labelled.out)
    assert labelled.code == 0
    assert report.keys() >= keys
    assert not report["golden"]
    assert report["frames"] == 4
    assert abs(report["miou_drop"]) <= 0.05
    assert 0 < report["reference"]["miou"] <= 100
    assert report["reference"]["backend"] == "torch"
    assert report["candidate"]["backend"] == "onnxruntime-cpu"
    assert report["candidate"]["device"]
    assert report["candidate"]["versions"].keys() == {"onnxruntime", "numpy"}
    assert json.loads((bundle / "parity.json").read_text()) == report
    assert "pass: mIoU drop" in kd("parity", bundle, "--data", camvid).out


def test_a_backend_that_says_something_else_fails_the_gate(
    own_bundle: Path, camvid: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Model.run

    def wrong(self: Model, frames: Any) -> Any:
        masks = run(self, frames)
        return (masks + 1) % 11 if self.describe().backend == "onnxruntime-cpu" else masks

    monkeypatch.setattr(Model, "run", wrong)
    for data in ((), ("--data", camvid)):
        outcome = kd("parity", own_bundle, *data, "--json", "--pictures", tmp_path / "worst")
        assert outcome.code == 4
        assert outcome.err == ""
        assert json.loads(outcome.out)["verdict"] == "fail"
        assert json.loads((own_bundle / "parity.json").read_text())["reasons"]
        assert list((tmp_path / "worst").glob("*.png"))


def test_golden_masks_of_another_network_fail_the_gate(own_bundle: Path, kd: Any) -> None:
    """The sha256s are right, the contents are not."""
    file = own_bundle / "golden" / "000.mask.png"
    cv2.imwrite(str(file), (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) + 1) % 11)
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    manifest["files"]["golden/000.mask.png"] = sha256(file)
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    outcome = kd("parity", own_bundle)
    assert outcome.code == 4
    assert "fail: " in outcome.out
    assert "99.9 % are required" in outcome.out


def test_benchmark_json(own_bundle: Path, kd: Any) -> None:
    options = ("--backend", "onnxruntime-cpu", "--backend", "torch", "--seconds", 0, "--batch", 2)
    outcome = kd("benchmark", own_bundle, *options, "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 0
    assert result.keys() == {"results", "environment"}
    assert result["environment"]["cpu"]
    keys = {"backend", "precision", "boundary", "batch", "size", "n", "p50_ms", "p90_ms", "p99_ms", "fps"}
    assert all(entry.keys() >= keys and entry["batch"] == 2 for entry in result["results"])
    assert [(entry["backend"], entry["boundary"]) for entry in result["results"]] == [
        (backend, boundary) for boundary in ("session", "frame") for backend in ("onnxruntime-cpu", "torch")
    ]
    assert all(0 < e["p50_ms"] <= e["p90_ms"] <= e["p99_ms"] and e["n"] >= 50 for e in result["results"])
    assert json.loads((own_bundle / "benchmark.json").read_text()) == result


def test_infer_an_image_a_folder_and_a_video(
    deeplab: Any, camvid: Path, video: Path, tmp_path: Path, kd: Any
) -> None:
    image = camvid / "val" / "000.jpg"
    assert kd("infer", deeplab.bundle, image, "-o", tmp_path / "mask.png", "--mask").code == 0
    mask = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
    with open_model(deeplab.bundle) as model:
        assert (mask == model.run(cv2.imread(str(image))[None])[0]).all()

    result = json.loads(kd("infer", deeplab.bundle, camvid / "val", "-o", tmp_path / "out", "--json").out)
    assert result["frames"] == 4
    assert result["kind"] == "folder"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{n:03d}.png" for n in range(4)]

    outcome = kd("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4")
    assert outcome.code == 0
    assert "7 frames" in outcome.out
    capture = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    frames = [frame for there, frame in iter(capture.read, (False, None)) if there]
    assert len(frames) == 7
    assert frames[0].shape[0] >= 64
    assert capture.get(cv2.CAP_PROP_FPS) == 10


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["distill", "demo"],
        ["train", "demo", "-o", "x", "--role", "boss"],
        ["export", "x", "-o", "y", "--size", "big"],
        ["benchmark", "x", "--batch", "0"],
        [],
    ],
)
def test_bad_usage_is_2(kd: Any, arguments: list[str]) -> None:
    outcome = kd(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Usage: kd-deploy" in outcome.err


@pytest.mark.parametrize("option", [("--max-miou-drop", "0.1"), ("--split", "test")])
def test_an_option_that_golden_frames_would_ignore_is_2(deeplab: Any, kd: Any, option: Any) -> None:
    outcome = kd("parity", deeplab.bundle, *option)
    assert outcome.code == 2
    assert f"{option[0]} needs --data" in outcome.err


def test_an_unknown_backend_is_1(deeplab: Any, camvid: Path, video: Path, tmp_path: Path, kd: Any) -> None:
    for command in (
        ("evaluate", deeplab.bundle, "--data", camvid),
        ("parity", deeplab.bundle),
        ("benchmark", deeplab.bundle),
        ("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4"),
    ):
        outcome = kd(*command, "--backend", "onnx")
        assert outcome.code == 1
        assert outcome.error.startswith(
            "backend: no 'onnx'; choose one of onnxruntime-cpu, onnxruntime-cuda, "
        )
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_3(recipe: Path, deeplab: Any, tmp_path: Path, kd: Any) -> None:
    for command in (
        ("train", recipe, "--role", "teacher", "-o", tmp_path / "run"),
        ("evaluate", deeplab.run),
    ):
        outcome = kd(*command, "--device", "cuda")
        assert outcome.code == 3
        assert outcome.error.startswith("cuda: torch ")
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_not_there_is_3(recipe: Path, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = None; from kd_deploy.cli import main; main()"
    command = [sys.executable, "-c", blocked, "train", str(recipe), "--role", "teacher", "-o", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"error: torch: is not installed; {INSTALL}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"),
            "error: cv2: cannot be imported (libGL.so.1: cannot open shared object file: No such file or "
            "directory); install what is named there",
        ),
        (ImportError("cannot import name 'Self' from 'typing'", name="typing"), "error: Python 3."),
        (
            ImportError("numpy.core failed\nto import"),
            "error: a library: cannot be imported (numpy.core failed);",
        ),
    ],
)
def test_a_library_that_does_not_load_is_3(
    error: ImportError, line: str, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("kd_deploy.config.catalog.packaged", fail)
    outcome = kd("recipes", "list")
    assert outcome.code == 3
    assert outcome.err.startswith(line)
    assert len(outcome.err.splitlines()) == 1


def test_an_import_of_our_own_that_fails_is_a_bug(kd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("kd_deploy.config.catalog.packaged")
    with pytest.raises(ImportError, match="cannot import name 'packaged'"):
        kd("recipes", "list")


def test_ctrl_c_is_130_and_loses_no_step(deeplab: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", deeplab.recipe, "--role", "student", "-o", run, "--device", "cpu")
    options = ("--set", "train.iterations=5000", "--set", "evaluate.every=5000", "--set", "train.log_every=1")
    process = start(*command, *options)
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or '"step": 2' not in (run / "metrics.jsonl").read_text():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    step = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["step"]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert step >= 2
    assert json.loads(lines[-1])["step"] == step


def test_the_module_runs_as_a_program(deeplab: Any, camvid: Path) -> None:
    process = start("evaluate", deeplab.bundle, "--data", camvid, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(out)["images"] == 4
    assert err == ""


def test_a_full_disk_loses_nothing(deeplab: Any, tmp_path: Path) -> None:
    """No file may grow over 1 MB: the first checkpoint does not fit."""
    limit = (1 << 20, 1 << 20)
    process = start(
        *("train", deeplab.recipe, "--role", "student", "-o", tmp_path / "run", *SHORT),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert out == ""
    checkpoint = tmp_path / "run" / "checkpoints" / "best.pt"
    assert err.splitlines()[-1].startswith(f"error: {checkpoint}: cannot be written (File too large); free")
    assert not list(checkpoint.parent.glob("*"))
