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
from kd_deploy.runtime.model import BACKENDS, CannotRunError, open_model
from kd_deploy.runtime.segment import segment_batch
from tests.runtime.backends.tester import keeps_the_contract


@pytest.mark.parametrize(
    "backend", [name for name in BACKENDS if name not in ("tensorrt", "onnxruntime-cuda")]
)  # which need a GPU
def test_every_backend_keeps_the_contract(deployed: Any, backend: str) -> None:
    keeps_the_contract(Bundle.open(deployed.bundle), backend)


def test_a_path_opens_too(deeplab: Any) -> None:
    with open_model(deeplab.bundle) as model:
        assert model.describe().backend == "onnxruntime-cpu"


def test_an_unknown_backend_names_the_known_ones(deeplab: Any) -> None:
    with pytest.raises(
        UserError,
        match=r"^backend: no 'onnx'; choose one of onnxruntime-cpu, onnxruntime-cuda, openvino, tensorrt, torch$",
    ):
        open_model(deeplab.bundle, backend="onnx")
    with pytest.raises(UserError, match="bundle: holds no fp16 model, only fp32"):
        open_model(deeplab.bundle, precision="fp16")


@pytest.mark.parametrize(
    ("backend", "library"),
    [("onnxruntime-cpu", "onnxruntime"), ("onnxruntime-cuda", "onnxruntime"), ("torch", "torch")],
)
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
    model = own_bundle / "model.fp32-cpu.onnx"  # what a CPU takes for fp32
    model.write_bytes(model.read_bytes()[:5000])
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    manifest["files"][model.name] = sha256(model)
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"^{model}: ONNX Runtime cannot load it") as caught:
        open_model(own_bundle)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_fixed_batch_is_filled_up_and_cut_off(fake_model: Any, count: int) -> None:
    model = fake_model()
    model.batch = 2
    frames = np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), dtype=np.uint8)
    assert (model.run(frames) == frames[..., 0]).all()
    assert [len(call) for call in model.calls] == [2] * ((count + 1) // 2)
    if count % 2:
        assert (model.calls[-1] == frames[-1]).all()  # the last frame twice


class StatusError(Exception):
    """Of a library."""


@pytest.mark.parametrize("raised", [RuntimeError, MemoryError, StatusError])
@pytest.mark.parametrize("out", [None, np.empty((2, 24, 32), np.uint8)])
def test_a_run_that_fails_is_one_line(fake_model: Any, raised: type[Exception], out: Any) -> None:
    def fails(frames: Any) -> Any:
        raise raised("out of memory\nat line 7")

    model = fake_model(function=fails)
    model.errors = (StatusError,)
    frames = np.zeros((2, 24, 32, 3), np.uint8)
    said = r"^fake fp32: cannot run a batch of 2 \(out of memory\); try a smaller --batch$"
    with pytest.raises(CannotRunError, match=said) as caught:
        model.run(frames, out)
    assert caught.value.model is model
    with pytest.raises(CannotRunError, match=r"a batch of 1 \(out of memory\); close other programs"):
        model.run(frames[:1])


def test_a_bug_keeps_its_traceback(fake_model: Any) -> None:
    with pytest.raises(KeyError):
        fake_model(function=lambda frames: {}["mask"]).run(np.zeros((1, 24, 32, 3), np.uint8))


def test_frames_that_memory_does_not_hold_together(fake_model: Any) -> None:
    endless = np.broadcast_to(np.zeros(3, np.uint8), (1 << 24, 1 << 24, 3))  # which takes three bytes
    with pytest.raises(CannotRunError, match=r"a batch of 2 \(Unable to allocate .*; try a smaller --batch"):
        segment_batch(fake_model(size=(1 << 24, 1 << 24)), [endless, endless])


def test_what_onnxruntime_raises_in_a_run_is_one_line(deeplab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_model(deeplab.bundle) as model:
        monkeypatch.setattr(model, "size", None)  # so that frames of another size reach the session
        frames = np.zeros((1, 32, 32, 3), np.uint8)
        for out in (None, np.empty((1, 32, 32), np.uint8)):
            with pytest.raises(CannotRunError, match=r"^onnxruntime-cpu fp32-cpu: .*invalid dimensions"):
                model.run(frames, out)
