"""The bundle as it is written: complete, checked, and never half there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from kd_deploy.deploy import Wanted, export_run
from kd_deploy.export import bundle as writing
from kd_deploy.export import precisions
from kd_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import GateFailedError, UserError
from kd_deploy.runtime.model import open_model


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_manifest_vouches_for_every_other_file(deployed: Any) -> None:
    files = snapshot(deployed.bundle)
    manifest = json.loads(files.pop("manifest.json"))
    del files["ledger.json"]  # which grows
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert files.keys() == {
        "README.md",
        "model.fp32.onnx",
        "model.fp32-cpu.onnx",
        "reference.safetensors",
        *(f"golden/{number:03d}.{kind}.png" for number in (0, 1) for kind in ("frame", "mask")),
    }


def test_the_manifest_says_what_the_graph_is(deployed: Any) -> None:
    bundle = Bundle.open(deployed.bundle)
    manifest = bundle.manifest
    assert manifest["schema"] == 2
    assert manifest["opset"] == 18
    assert manifest["ignore"] == 255
    assert bundle.classes[3] == "road"
    assert tuple(bundle.palette[3]) == (128, 64, 128)
    assert bundle.size == (64, 96)
    assert manifest["models"] == {"fp32": "model.fp32.onnx", "fp32-cpu": "model.fp32-cpu.onnx"}
    assert manifest["precisions"] == {"fp32": {"opset": 18}, "fp32-cpu": {"opset": 18}}
    assert manifest["input"] == {
        "name": "frame",
        "dtype": "uint8",
        "layout": "NHWC",
        "channels": "BGR",
        "size": [64, 96],
        "batch": "dynamic",
    }
    assert manifest["thresholds"]["min_pixel_agreement"].keys() == {"fp32", "fp16", "bf16", "int8"}
    assert manifest["thresholds"]["max_boundary_drop"] == 1.0
    assert manifest["golden_limits"].keys() == manifest["models"].keys()
    assert manifest["data"] == {
        "format": "camvid",
        "size": None,
        "short_side": None,
    }  # and no folder of this machine
    assert manifest["source"]["terms"] == ["ce", "kd", "bpkd.body"]
    assert manifest["source"]["miou"] > 0
    assert manifest["tools"].keys() >= {"torch", "onnx", "python"}
    shared = ("classes", "palette", "ignore", "input", "output", "normalisation")
    for name in manifest["models"]:
        properties = {p.key: json.loads(p.value) for p in onnx.load(bundle.model_file(name)).metadata_props}
        assert properties == {**{key: manifest[key] for key in shared}, "precision": name}
    assert manifest["normalisation"]["mean"] == pytest.approx([123.675, 116.28, 103.53])


def test_golden_frames_are_validation_frames_as_they_are(deployed: Any, camvid: Path) -> None:
    golden = list(Bundle.open(deployed.bundle).golden())
    assert len(golden) == 2
    for name, frame, mask in golden:
        assert (frame == cv2.imread(str(camvid / "val" / name))).all()
        assert mask.shape == frame.shape[:2]
        assert mask.max() < 11


@pytest.fixture
def quick(deeplab: Any, traced: Callable[[Path], None]) -> None:
    """Exporting a run takes its graphs from its bundle."""
    traced(deeplab.bundle)


def test_another_size_than_the_datas(trained: Path, tmp_path: Path) -> None:
    bundle = export_run(trained, tmp_path / "bundle", Wanted(size=(50, 70)))
    assert bundle.size == (50, 70)
    _, frame, mask = next(iter(bundle.golden()))
    with open_model(bundle) as model:
        assert (model.run(frame[None])[0] == mask).mean() > 0.999


def test_a_taken_folder_is_refused_unchanged(deeplab: Any, own_bundle: Path) -> None:
    before = snapshot(own_bundle)
    with pytest.raises(UserError, match="bundle: exists already; choose another name, or pass --force"):
        export_run(deeplab.run, own_bundle)
    assert snapshot(own_bundle) == before


@pytest.mark.usefixtures("quick")
def test_force_replaces_a_bundle(deeplab: Any, own_bundle: Path) -> None:
    (own_bundle / "parity.json").write_text("old")
    export_run(deeplab.run, own_bundle, replace=True)
    assert not (own_bundle / "parity.json").exists()
    assert Bundle.open(own_bundle)
    assert [p.name for p in own_bundle.parent.iterdir()] == ["bundle"]


def test_force_replaces_nothing_but_a_bundle(deeplab: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("mine")
    with pytest.raises(UserError, match="home: is no bundle, so --force does not replace it"):
        export_run(deeplab.run, tmp_path / "home", replace=True)
    assert snapshot(tmp_path) == {"home/letters.txt": b"mine"}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()]
)
def test_a_failing_export_leaves_everything_as_it_was(
    deeplab: Any, own_bundle: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(graph: Any, ends: Any, file: Path, facts: Any) -> None:
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(precisions, "write_onnx", fail)
    before = snapshot(own_bundle.parent)
    for path, replace in ((own_bundle, True), (own_bundle.parent / "new", False)):
        with pytest.raises(UserError if isinstance(error, OSError) else type(error)) as caught:
            export_run(deeplab.run, path, replace=replace)
        if isinstance(error, OSError):
            assert str(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert snapshot(own_bundle.parent) == before
    assert [p.name for p in own_bundle.parent.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("quick")
def test_a_graph_that_is_not_the_network_is_not_written(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = writing.TorchModel.run
    monkeypatch.setattr(writing.TorchModel, "run", lambda self, frames: (run(self, frames) + 1) % 11)
    with pytest.raises(GateFailedError, match=r"^fp32: at batch 1 [\d.]+ % of the golden .* nothing was"):
        export_run(deeplab.run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_graph_that_fails_at_the_second_batch_size_is_not_written(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FixedBatch(OnnxRuntimeCpu):
        def _run(self, frames: Any) -> Any:
            return super()._run(frames[:1].repeat(len(frames), 0))

    monkeypatch.setattr(writing, "OnnxRuntimeCpu", FixedBatch)
    with pytest.raises(GateFailedError, match=r"^fp32: at batch 2 "):
        export_run(deeplab.run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_the_ledger_begins_with_the_runs_own_scores(deeplab: Any) -> None:
    teacher, student = Bundle.open(deeplab.bundle).ledger()
    for entry, run in ((teacher, deeplab.teacher), (student, deeplab.run)):
        summary = json.loads((run / "summary.json").read_text())
        scores = entry["candidate"]
        assert {key: scores[key] for key in ("miou", "boundary_iou")} == {
            key: summary[key] for key in ("miou", "boundary_iou")
        }
        assert (scores["backend"], scores["device"]) == ("torch", summary["device"])
        assert entry["kd_deploy"] == summary["versions"]["kd-deploy"]
        assert datetime.fromisoformat(entry["date"]) <= datetime.now(timezone.utc)
        assert (entry["verdict"], entry["frames"]) == (None, 4)
    assert (teacher["role"], student["role"]) == ("teacher", "student")
    assert teacher["network"] == "deeplabv3plus on resnet18"


@pytest.mark.usefixtures("quick")
def test_a_teacher_that_has_gone_is_left_out(deeplab: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"teacher": str(tmp_path / "gone")}))
    bundle = export_run(run, tmp_path / "bundle")
    assert [entry["role"] for entry in bundle.ledger()] == ["student"]


def test_an_unfinished_run_is_refused(deeplab: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="run: the run is not finished; go on with --resume"):
        export_run(run, tmp_path / "bundle")
    with pytest.raises(UserError, match="nowhere: is no run"):
        export_run(tmp_path / "nowhere", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_golden_masks_are_not_all_one_class(deployed: Any) -> None:
    """Else the checks above would pass for a graph that says the same everywhere."""
    assert any(len(np.unique(mask)) > 1 for _, _, mask in Bundle.open(deployed.bundle).golden())
