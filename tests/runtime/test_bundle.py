"""Reading a bundle: what was changed, cut or aimed elsewhere is refused before use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.bundle import LEDGER, MANIFEST, SCHEMA, Bundle, sha256
from kd_deploy.runtime.errors import UserError
from tests.runtime.gpu import SOURCE


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle, but for a model that no backend could load."""
    folder = tmp_path / "bundle"
    (folder / "golden").mkdir(parents=True)
    (folder / "model.fp32.onnx").write_bytes(b"model")
    (folder / "reference.safetensors").write_bytes(b"weights")
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "golden/0.frame.png"), rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    cv2.imwrite(str(folder / "golden/0.mask.png"), rng.integers(0, 2, (4, 6), dtype=np.uint8))
    manifest = {
        "schema": SCHEMA,
        "classes": ["road", "sky"],
        "palette": [[1, 2, 3], [4, 5, 6]],
        "ignore": 255,
        "input": {"name": "frame", "size": [4, 6]},
        "output": {"name": "mask"},
        "opset": 18,
        "models": {"fp32": "model.fp32.onnx"},
        "precisions": {"fp32": {"opset": 18}},
        "reference": "reference.safetensors",
        "network": {"arch": "segformer", "encoder": "mit_b0"},
        "golden": [{"name": "a", "frame": "golden/0.frame.png", "mask": "golden/0.mask.png"}],
        "thresholds": {"max_miou_drop": 0.5, "min_pixel_agreement": {"fp32": 99.9}},
        "data": {"format": "synthetic"},
        "source": SOURCE,
        "tools": {"torch": "2.15.0", "tensorrt": None},
        "created": "2026-01-01T00:00:00+00:00",
        "files": {p.relative_to(folder).as_posix(): sha256(p) for p in folder.rglob("*") if p.is_file()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Bundle.open(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.classes == ("road", "sky")
    assert opened.size == (4, 6)
    assert opened.palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert opened.palette.dtype == np.uint8
    assert opened.model_file("fp32") == bundle / "model.fp32.onnx"
    ((name, frame, mask),) = opened.golden()
    assert (name, frame.shape, mask.shape) == ("a", (4, 6, 3), (4, 6))


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["model.fp32.onnx", "golden/0.mask.png", "reference.safetensors"])
def test_a_changed_or_missing_file(bundle: Path, name: str) -> None:
    file = bundle / name
    data = file.read_bytes()
    file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert refusal(bundle).startswith(f"{file}: was changed after the export")
    file.unlink()
    assert refusal(bundle) == f"{file}: is missing from the bundle; copy or export the bundle again"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "golden/../../secret",
        "..\\secret",
        "golden\\secret",
        "C:secret",
        "C:/secret",
    ],
)
@pytest.mark.parametrize("place", ["files", "models"])
def test_a_path_that_leads_out(bundle: Path, name: str, place: str) -> None:
    (bundle.parent / "secret").write_text("secret")

    def aim(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = hashlib.sha256(b"secret").hexdigest()
        if place == "models":
            manifest["models"]["fp32"] = name

    rewrite(bundle, aim)
    assert refusal(bundle) == f"{bundle / MANIFEST}: {name!r} leads out of the bundle; do not use this bundle"


def test_a_model_that_the_manifest_does_not_vouch_for(bundle: Path) -> None:
    (bundle / "other.onnx").write_bytes(b"other")
    rewrite(bundle, lambda manifest: manifest["models"].update(fp32="other.onnx"))
    with pytest.raises(UserError, match=r"names 'other.onnx' without a sha256"):
        Bundle.open(bundle).model_file("fp32")


def test_another_schema_and_what_is_no_manifest(bundle: Path, tmp_path: Path) -> None:
    rewrite(bundle, lambda manifest: manifest.update(schema=1))
    assert refusal(bundle) == f"{bundle / MANIFEST}: schema 1, this version reads 2; export the bundle again"
    (bundle / MANIFEST).write_text("[]")
    assert "schema None" in refusal(bundle)
    (bundle / MANIFEST).write_text('{"schema": 1,')
    assert refusal(bundle).startswith(f"{bundle / MANIFEST}: is damaged (")
    (bundle / MANIFEST).write_bytes(b"\xff\xfe\x00")
    assert refusal(bundle).startswith(f"{bundle / MANIFEST}: is damaged (")
    assert refusal(tmp_path).startswith(f"{tmp_path}: is no bundle, manifest.json cannot be read")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.pop("golden"), "golden is missing"),
        (lambda manifest: manifest.update(opset="18"), "opset must be a whole number, not '18'"),
        (lambda manifest: manifest.update(golden=[]), "golden must name a frame"),
    ],
)
def test_a_manifest_that_was_edited_by_hand(
    bundle: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    rewrite(bundle, change)
    assert refusal(bundle) == f"{bundle / MANIFEST}: {said}; export the bundle again"


def test_a_precision_that_is_not_there(bundle: Path) -> None:
    with pytest.raises(UserError, match="bundle: holds no int8 model, only fp32; choose one of these"):
        Bundle.open(bundle).model_file("int8")


def test_a_result_is_kept_beside_the_bundle_where_that_can_be_written(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Bundle.open(bundle)
    opened.keep("parity.json", {"verdict": "pass"})
    assert json.loads((bundle / "parity.json").read_text()) == {"verdict": "pass"}
    assert capsys.readouterr() == ("", "")
    (bundle / "benchmark.json").mkdir()
    opened.keep("benchmark.json", {})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"not kept: {bundle / 'benchmark.json'}: cannot be written")


def test_golden_frames_are_read_under_any_name(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's own functions for files find only ASCII names on Windows."""
    monkeypatch.setattr(cv2, "imread", lambda *_: None)
    assert len(list(Bundle.open(bundle).golden())) == 1


def result(backend: str = "onnxruntime-cpu", precision: str = "fp32", **facts: Any) -> dict[str, Any]:
    """What the ledger reads of a parity result."""
    candidate = {"backend": backend, "precision": precision, "device": facts.pop("device", "a CPU")}
    return {"candidate": candidate, "golden": False, **facts}


def test_the_ledger_keeps_the_last_result_of_each_subject(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.ledger() == []
    first = result(miou_drop=0.5)
    others = [
        result(backend="tensorrt"),
        result(precision="int8"),
        result(device="another CPU"),
        result(golden=True),
        result(data="camvid CamVid", split="val"),
        result(data="camvid CamVid", split="test"),
        result(data="camvid other", split="val"),
    ]
    for entry in (first, *others):
        opened.enter(entry)
    assert opened.ledger() == [first, *others]
    again = result(miou_drop=0.1)
    opened.enter(again)
    assert opened.ledger() == [*others, again]
    assert json.loads((bundle / LEDGER).read_text()) == [*others, again]
    assert Bundle.open(bundle).ledger() == [*others, again]  # and no part of the manifest


@pytest.mark.parametrize(
    "text", ["[", "{}", "[1]", '[{"candidate": {"backend": "torch", "precision": "fp32"}}]', "\ud800"]
)
def test_a_damaged_ledger_is_one_line(bundle: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = text.encode("utf-8", "surrogatepass")
    (bundle / LEDGER).write_bytes(damaged)
    opened = Bundle.open(bundle)
    with pytest.raises(UserError) as caught:
        opened.ledger()
    assert str(caught.value).startswith(f"{bundle / LEDGER}: is damaged (")
    assert str(caught.value).endswith("); remove it, kd-deploy parity begins it anew")
    assert "\n" not in str(caught.value)
    opened.enter(result())  # the verdict goes on
    assert capsys.readouterr() == ("", f"not kept: {caught.value}\n")
    assert (bundle / LEDGER).read_bytes() == damaged


def test_what_each_precision_must_reach_and_who_runs_it(bundle: Path) -> None:
    (bundle / "model.int8-cpu.onnx").write_bytes(b"model")

    def add(manifest: dict[str, Any]) -> None:
        manifest["models"]["int8-cpu"] = "model.int8-cpu.onnx"
        manifest["thresholds"]["min_pixel_agreement"].update({"fp16": 99.0, "int8": 97})
        manifest["input"]["batch"] = 2

    assert Bundle.open(bundle).batch is None
    rewrite(bundle, add)
    opened = Bundle.open(bundle)
    asked = {"fp32": 99.9, "fp32-cpu": 99.9, "fp16": 99.0, "int8": 97.0, "int8-cpu": 97.0, "unheard-of": 99.9}
    assert {name: opened.min_agreement(name) for name in asked} == asked
    assert [opened.for_cpu(name) for name in ("fp32", "int8", "int8-cpu")] == ["fp32", "int8", "int8-cpu"]
    assert opened.batch == 2
    rewrite(bundle, lambda manifest: manifest["input"].update(batch="dynamic"))
    assert Bundle.open(bundle).batch is None


def test_golden_limits_are_the_exports_own_or_the_general_ones(bundle: Path) -> None:
    assert Bundle.open(bundle).golden_limits("fp32") == {"min_pixel_agreement": 99.9, "min_mask_iou": 0.0}
    rewrite(bundle, lambda manifest: manifest.update(golden_limits={"fp32": {"min_mask_iou": 98.0}}))
    assert Bundle.open(bundle).golden_limits("fp32") == {"min_pixel_agreement": 99.9, "min_mask_iou": 98.0}


def test_limits_that_are_no_numbers(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest.update(golden_limits={"fp32": {"min_mask_iou": "98"}}))
    assert "golden_limits.fp32.min_mask_iou must be a number, not '98'" in refusal(bundle)
    rewrite(bundle, lambda manifest: manifest["thresholds"].update(max_boundary_drop=None))
    assert "thresholds.max_boundary_drop must be a number, not None" in refusal(bundle)
