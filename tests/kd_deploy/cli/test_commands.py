"""The command line from a recipe to a video: results, exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.model import Model, open_model
from tests.conftest import draw

EVALUATION = {"miou", "pixel_accuracy", "boundary_iou", "classes", "images", "backend", "precision"}
SHORT = ("--set", "train.iterations=2", "--set", "evaluate.every=2", "--device", "cpu")


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def unchanged(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it once all is set up: then nothing in `tmp_path` may change to the end of the test."""
    before: list[dict[str, bytes | None]] = []
    yield lambda: before.append(snapshot(tmp_path))
    assert before
    assert snapshot(tmp_path) == before[0]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    writer = cv2.VideoWriter(str(tmp_path / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for seed in range(7):
        writer.write(draw(seed, (64, 96))[0])
    writer.release()
    return tmp_path / "drive.mp4"


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


def test_an_unknown_backend_is_1(deeplab: Any, camvid: Path, video: Path, tmp_path: Path, kd: Any) -> None:
    for command in (
        ("evaluate", deeplab.bundle, "--data", camvid),
        ("parity", deeplab.bundle),
        ("benchmark", deeplab.bundle),
        ("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4"),
    ):
        outcome = kd(*command, "--backend", "openvino")
        assert outcome.code == 1
        assert outcome.error == "backend: no 'openvino'; choose one of onnxruntime-cpu, torch"
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
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_environment())
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == "error: torch: is not installed; pip install 'kd-deploy[all]'\n"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path.cwd())}


def _start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kd_deploy", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(), **options
    )


def test_ctrl_c_is_130_and_loses_no_step(deeplab: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", deeplab.recipe, "--role", "student", "-o", run, "--device", "cpu")
    options = ("--set", "train.iterations=5000", "--set", "evaluate.every=5000", "--set", "train.log_every=1")
    process = _start(*command, *options)
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
    process = _start("evaluate", deeplab.bundle, "--data", camvid, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(out)["images"] == 4
    assert err == ""


def test_a_full_disk_loses_nothing(deeplab: Any, tmp_path: Path) -> None:
    """No file may grow over 1 MB: the first checkpoint does not fit."""
    limit = (1 << 20, 1 << 20)
    process = _start(
        *("train", deeplab.recipe, "--role", "student", "-o", tmp_path / "run", *SHORT),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert out == ""
    checkpoint = tmp_path / "run" / "checkpoints" / "best.pt"
    assert err.splitlines()[-1].startswith(f"error: {checkpoint}: cannot be written (File too large); free")
    assert not list(checkpoint.parent.iterdir())


# Bad input: one line, exit 1, nothing half-written, nothing lost


def test_a_missing_or_misspelt_recipe(tmp_path: Path, kd: Any, unchanged: Any) -> None:
    unchanged()
    for name, hint in (
        ("camvid/segformer-b0-kdd", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        (tmp_path / "mine.yaml", "no such file"),
    ):
        for command in (("distill", name), ("train", name, "--role", "teacher")):
            outcome = kd(*command, "-o", tmp_path / "run")
            assert outcome.code == 1
            assert outcome.error.startswith(f"{name}: ")
            assert hint in outcome.error


def test_a_wrong_key(recipe: Path, tmp_path: Path, kd: Any, unchanged: Any) -> None:
    unchanged()
    outcome = kd("distill", recipe, "-o", tmp_path / "run", "--set", "train.iteration=3")
    assert outcome.code == 1
    assert "--set train.iteration=3: unknown key (did you mean 'iterations'?)" in outcome.error


def drop(root: Path) -> Path:
    shutil.rmtree(root)
    return root


def empty(root: Path) -> Path:
    shutil.rmtree(root)
    root.mkdir()
    return root


def no_pictures(root: Path) -> Path:
    for file in (root / "val").iterdir():
        file.unlink()
    return root / "val"


def no_mask(root: Path) -> Path:
    (root / "trainannot" / "002.png").unlink()
    return root / "train" / "002.jpg"


def cut(name: str) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])
        return root / name

    return damage


def foreign_id(root: Path) -> Path:
    cv2.imwrite(str(root / "valannot" / "001.png"), np.full((64, 96), 30, np.uint8))
    return root / "valannot" / "001.png"


def other_mask_size(root: Path) -> Path:
    cv2.imwrite(str(root / "trainannot" / "001.png"), np.zeros((32, 48), np.uint8))
    return root / "trainannot" / "001.png"


def other_frame_size(root: Path) -> Path:
    for folder, suffix, image in zip(
        ("train", "trainannot"), (".jpg", ".png"), draw(0, (48, 64)), strict=True
    ):
        cv2.imwrite(str(root / folder / f"003{suffix}"), image)
    return root / "train" / "003.jpg"


DAMAGES = {
    "root missing": drop,
    "root empty": empty,
    "no pictures": no_pictures,
    "no mask": no_mask,
    "truncated jpeg": cut("train/004.jpg"),
    "truncated png": cut("trainannot/004.png"),
    "truncated val": cut("val/003.jpg"),
    "foreign id": foreign_id,
    "mask size": other_mask_size,
    "frame size": other_frame_size,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_data_stop_a_run_before_it_begins(
    damage: Callable[[Path], Path],
    recipe: Path,
    teacher_run: Path,
    own_camvid: Path,
    tmp_path: Path,
    kd: Any,
    unchanged: Any,
) -> None:
    named = damage(own_camvid)
    unchanged()
    outcome = kd(
        *("distill", recipe, "--teacher", teacher_run, "-o", tmp_path / "run", "--device", "cpu"),
        *("--set", f"data.root={own_camvid}"),
    )
    assert outcome.code == 1
    assert outcome.error.startswith(str(named))


@pytest.mark.parametrize(
    "damage", [drop, no_pictures, cut("val/003.jpg"), foreign_id], ids=lambda d: d.__name__
)
def test_damaged_data_stop_an_evaluation(
    damage: Callable[[Path], Path], deeplab: Any, own_camvid: Path, kd: Any
) -> None:
    named = damage(own_camvid)
    for command in (
        ("evaluate", deeplab.run),
        ("evaluate", deeplab.bundle),
        ("parity", deeplab.bundle),
    ):
        outcome = kd(*command, "--data", own_camvid, "--json")
        assert outcome.code == 1
        assert outcome.error.startswith(str(named))


def test_a_wrong_teacher(recipe: Path, deploy: Any, tmp_path: Path, kd: Any, unchanged: Any) -> None:
    segformer = deploy("segformer").run
    (tmp_path / "notes.pt").write_text("no checkpoint")
    unchanged()
    for teacher, what in (
        (
            segformer,
            "is a checkpoint of another network than teacher (deeplabv3plus on resnet18, 11 classes)",
        ),
        (tmp_path / "notes.pt", "cannot be read as a checkpoint"),
        (tmp_path / "nowhere", "no weights there"),
        (tmp_path, "no weights there"),
    ):
        outcome = kd("distill", recipe, "--teacher", teacher, "-o", tmp_path / "run", "--device", "cpu")
        assert outcome.code == 1
        assert outcome.error.startswith(f"{teacher}: {what}")
    outcome = kd("distill", recipe, "-o", tmp_path / "run")
    assert outcome.code == 1
    assert outcome.error.startswith("teacher: has never seen this data set")


def test_a_taken_run_and_a_taken_bundle(
    deeplab: Any, own_bundle: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    (tmp_path / "file").write_text("mine")
    unchanged()
    train = ("train", deeplab.recipe, "--role", "student", "--device", "cpu")
    for command, text in (
        ((*train, "-o", run), f"{run}: exists already"),
        ((*train, "-o", run, "--resume"), f"{run}: --resume needs the run's own recipe"),
        ((*train, "-o", tmp_path / "file"), f"{tmp_path / 'file'}: exists already"),
        ((*train, "-o", tmp_path / "file" / "run"), f"{tmp_path / 'file' / 'run'}: cannot be written"),
        (("export", run, "-o", own_bundle), f"{own_bundle}: exists already"),
        (("export", run, "-o", run, "--force"), f"{run}: is no bundle"),
        (("export", run, "-o", tmp_path / "file" / "b"), f"{tmp_path / 'file' / 'b'}: cannot be written"),
        (("export", tmp_path, "-o", tmp_path / "b"), f"{tmp_path}: is no run"),
        (("evaluate", tmp_path), f"{tmp_path}: is no run"),
    ):
        outcome = kd(*command)
        assert outcome.code == 1
        assert outcome.error.startswith(text)


def test_an_edited_bundle(
    own_bundle: Path, video: Path, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    model = own_bundle / "model.fp32.onnx"
    data = model.read_bytes()
    model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    unchanged()
    for command in (
        ("evaluate", own_bundle, "--data", camvid),
        ("parity", own_bundle),
        ("benchmark", own_bundle),
        ("infer", own_bundle, video, "-o", tmp_path / "out.mp4"),
    ):
        outcome = kd(*command)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{model}: was changed after the export")


def test_pictures_and_videos_that_cannot_be_decoded(
    deeplab: Any, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    (tmp_path / "cut.jpg").write_bytes((camvid / "val" / "000.jpg").read_bytes()[:900])
    (tmp_path / "old.png").write_text("old")
    unchanged()
    for name, output in (("gone.mp4", "new.mp4"), ("cut.jpg", "old.png")):
        outcome = kd("infer", deeplab.bundle, tmp_path / name, "-o", tmp_path / output)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{tmp_path / name}: ")


def test_of_a_cut_video_only_our_line_is_printed(deeplab: Any, video: Path, tmp_path: Path) -> None:
    """In a process of its own: FFmpeg reads how much it may print once, before the first video."""
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    process = _start("infer", deeplab.bundle, video, "-o", tmp_path / "out.mp4")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"error: {video}: cannot be decoded as a video")
    assert list(tmp_path.iterdir()) == [video]


def test_an_output_that_cannot_be_written(
    deeplab: Any, video: Path, camvid: Path, tmp_path: Path, kd: Any, unchanged: Any
) -> None:
    (tmp_path / "file").write_text("mine")
    unchanged()
    for source, output in ((video, "file/out.mp4"), (camvid / "val" / "000.jpg", "file/out.png")):
        outcome = kd("infer", deeplab.bundle, source, "-o", tmp_path / output)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{tmp_path / output}: ")


def test_a_bundle_that_may_not_be_written_to_is_measured_all_the_same(own_bundle: Path, kd: Any) -> None:
    (own_bundle / "parity.json").mkdir()
    outcome = kd("parity", own_bundle, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["verdict"] == "pass"
    assert outcome.err.startswith(f"not kept: {own_bundle / 'parity.json'}: cannot be written")
    assert Bundle.open(own_bundle)
