"""Opening a bundle with a backend, and the one contract of every model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import BACKENDS, open_model


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_every_backend_keeps_the_contract(deployed: Any, backend: str) -> None:
    bundle = Bundle.open(deployed.bundle)
    golden = list(bundle.golden())
    frames = np.stack([frame for _, frame, _ in golden])
    with open_model(bundle, backend=backend) as model:
        masks = model.run(frames)
        assert masks.shape == (2, 64, 96)
        assert masks.dtype == np.uint8
        assert (masks == np.stack([mask for _, _, mask in golden])).mean() > 0.999
        assert (model.run(frames[1:])[0] == masks[1]).mean() > 0.999  # another batch size
        flipped = frames[:, :, ::-1]  # a view that is not contiguous
        assert (model.run(flipped) == model.run(flipped.copy())).all()
        what = model.describe()
        assert (what.backend, what.precision) == (backend, "fp32")
        assert what.device
        assert what.versions
        for wrong in (frames[:, :32], frames.astype(np.float32), frames[0], frames[:0], frames[..., :1]):
            with pytest.raises(UserError, match=r"^frames: expected uint8 \(N, 64, 96, 3\) in BGR, got "):
                model.run(wrong)


def test_a_path_opens_too(deeplab: Any) -> None:
    with open_model(deeplab.bundle) as model:
        assert model.describe().backend == "onnxruntime-cpu"


def test_an_unknown_backend_names_the_known_ones(deeplab: Any) -> None:
    with pytest.raises(UserError, match=r"^backend: no 'openvino'; choose one of onnxruntime-cpu, torch"):
        open_model(deeplab.bundle, backend="openvino")
    with pytest.raises(UserError, match="bundle: holds no fp16 model, only fp32"):
        open_model(deeplab.bundle, precision="fp16")


@pytest.mark.parametrize(("backend", "library"), [("onnxruntime-cpu", "onnxruntime"), ("torch", "torch")])
def test_a_missing_library_is_a_missing_component(
    deeplab: Any, backend: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, BACKENDS[backend], raising=False)
    with pytest.raises(
        MissingComponentError, match=f"{library}.*in kd-deploy's checkout: pip install -e '.\\[all\\]'"
    ) as caught:
        open_model(deeplab.bundle, backend=backend)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_a_model_that_onnxruntime_cannot_load(own_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Damaged before its sha256 was taken."""
    model = own_bundle / "model.fp32.onnx"
    model.write_bytes(model.read_bytes()[:5000])
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    manifest["files"][model.name] = sha256(model)
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"^{model}: ONNX Runtime cannot load it") as caught:
        open_model(own_bundle)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
