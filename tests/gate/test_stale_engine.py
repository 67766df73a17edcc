"""The engine of another export: never loaded, and stopped by the golden frames where its key was forged.

Over the fake TensorRT, whose engine carries its ONNX graph along and computes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.engines import make
from kd_deploy.runtime.engines.build import build
from kd_deploy.runtime.engines.handles import key_here
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.make import build_engine
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.engines.store import EngineFile, engine_path
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.parity import check_bundle
from tests.runtime.gpu import FakeGpu, gpu, tiny  # noqa: F401  # fixtures

PRECISION = "fp32"


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds without a child process."""

    def build_here(request: Request, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        return build(request, lambda percent: None).to_json()

    monkeypatch.setattr(make, "build_in_child", build_here)


@pytest.fixture
def again(gpu: FakeGpu, tiny: Bundle, tmp_path: Path) -> Bundle:  # noqa: F811
    """The bundle exported again, sky and car having changed places, with the engine of the first export in it."""
    build_engine(tiny, PRECISION)
    path = Path(shutil.copytree(tiny.path, tmp_path / "again"))
    model = onnx.load(tiny.model_file(PRECISION))
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "w2")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), "w2"))
    manifest = json.loads((path / "manifest.json").read_text())
    onnx.save(model, path / manifest["models"][PRECISION])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for entry in manifest["golden"]:
        frame = cv2.imread(str(path / entry["frame"]))
        cv2.imwrite(str(path / entry["mask"]), session.run(["mask"], {"frame": frame[None]})[0][0])
    manifest["files"] = {name: sha256(path / name) for name in manifest["files"]}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(path)


def take_the_name(bundle: Bundle) -> EngineFile:
    """The engine that lies there gets the name of the one that is wanted, its json too."""
    (old,) = (bundle.path / "engines").glob("*.json")
    key = key_here(bundle, PRECISION, BuildOptions())
    path = engine_path(bundle, key)
    old.with_suffix(".engine").rename(path)
    old.rename(path.with_suffix(".json"))
    return EngineFile(path, key, sha256(path), {})


def refused(bundle: Bundle) -> None:
    with pytest.raises(UserError, match=r"holds no intact fp32 engine .* make one with kd-deploy build"):
        open_model(bundle, backend="tensorrt", precision=PRECISION)


def test_as_it_lies_there(again: Bundle) -> None:
    refused(again)


def test_under_the_wanted_name(again: Bundle) -> None:
    take_the_name(again)
    refused(again)


def test_put_over_a_right_engine(again: Bundle) -> None:
    (stale,) = (again.path / "engines").glob("*.engine")
    right = build_engine(again, PRECISION)
    assert right.path != stale
    shutil.copy(stale, right.path)
    refused(again)


def test_with_a_forged_key_the_golden_frames_stop_it(again: Bundle) -> None:
    forged = take_the_name(again)
    file = forged.path.with_suffix(".json")
    value = json.loads(file.read_text())
    file.write_text(json.dumps(value | {"key": forged.key.to_json()}))
    with open_model(again, backend="tensorrt", precision=PRECISION) as stale:
        report = check_bundle(again, stale)
    assert report.verdict == "fail"
    assert report.pixel_agreement < 95


def test_the_right_engine_passes(again: Bundle) -> None:
    build_engine(again, PRECISION)
    with open_model(again, backend="tensorrt", precision=PRECISION) as model:
        assert check_bundle(again, model).verdict == "pass"
