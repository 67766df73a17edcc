"""ONNX Runtime's CUDA backend over a fake GPU, and what it says on a machine without one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.doctor.driver import driver
from kd_deploy.runtime.doctor.finding import WORKS
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import open_model, precisions
from tests.runtime.backends import fake_onnxruntime as fake
from tests.runtime.backends.tester import keeps_the_contract


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake.FakeGpu:
    gpu = fake.FakeGpu()
    monkeypatch.setitem(sys.modules, "onnxruntime", gpu.module())
    return gpu


def test_it_keeps_the_contract(deeplab: Any, gpu: fake.FakeGpu) -> None:
    keeps_the_contract(Bundle.open(deeplab.bundle), "onnxruntime-cuda")
    (session,) = gpu.sessions
    assert session.options.entries == {"session.disable_cpu_ep_fallback": "1"}
    assert session.provider_options["enable_cuda_graph"] == "1"
    assert not session.fallback  # run() may drop to the CPU too
    assert len(session.graphs) == 2  # a graph for each batch size, each on its own addresses


def test_every_name_is_onnxruntimes() -> None:
    for kind in (fake.OrtValue, fake.SessionOptions, fake.RunOptions, fake.InferenceSession):
        theirs = getattr(onnxruntime, kind.__name__)
        for name in vars(kind):
            assert name.startswith("__") or hasattr(theirs, name), f"{kind.__name__}.{name}"
    for name in vars(fake.FakeGpu().module()):
        assert hasattr(onnxruntime, name), name
    for name in vars(fake.Binding):
        assert name.startswith("__") or hasattr(onnxruntime.IOBinding, name), name


def test_a_missing_library_is_named_in_one_line(
    deeplab: Any, gpu: fake.FakeGpu, capfd: pytest.CaptureFixture[str]
) -> None:
    gpu.lacks = True
    with pytest.raises(MissingComponentError) as caught:
        open_model(deeplab.bundle, backend="onnxruntime-cuda")
    assert str(caught.value) == (
        "onnxruntime 1.31.1: CUDAExecutionProvider was asked for, CPUExecutionProvider came "
        f"({fake.LOADER}); see kd-deploy doctor"
    )
    assert capfd.readouterr() == ("", "")


def test_a_library_without_cuda(deeplab: Any, gpu: fake.FakeGpu) -> None:
    gpu.built_with_cuda = False
    with pytest.raises(
        MissingComponentError, match=r"^onnxruntime 1.31.1: was built without CUDA; pip uninstall"
    ):
        open_model(deeplab.bundle, backend="onnxruntime-cuda")


def test_nodes_that_stay_on_the_cpu_are_said(
    deeplab: Any, gpu: fake.FakeGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.needs_cpu = True
    bundle = Bundle.open(deeplab.bundle)
    _, frame, mask = next(bundle.golden())
    with open_model(bundle, backend="onnxruntime-cuda") as model:
        assert (model.run(frame[None])[0] == mask).mean() > 0.999
        assert model.describe().device.endswith(", 2 nodes on the CPU (Shape)")
    assert (
        capsys.readouterr().err
        == "onnxruntime-cuda: model.fp32.onnx: 2 nodes on the CPU (Shape), and no CUDA graph\n"
    )
    assert "enable_cuda_graph" not in gpu.sessions[0].provider_options
    assert not gpu.sessions[0].graphs


def test_a_free_size_has_no_cuda_graph(own_bundle: Path, gpu: fake.FakeGpu) -> None:
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    manifest["input"]["multiple"] = 32
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    with open_model(own_bundle, backend="onnxruntime-cuda") as model:
        assert "without CUDA graphs, its size is free" in model.describe().device
        model.run(np.zeros((1, *Bundle.open(own_bundle).size, 3), np.uint8))
    assert gpu.sessions[0].provider_options["enable_cuda_graph"] == "0"
    assert not gpu.sessions[0].graphs
    gpu.needs_cpu = True
    with open_model(own_bundle, backend="onnxruntime-cuda") as model:
        assert "2 nodes on the CPU (Shape)" in model.describe().device


def test_a_damaged_file_is_no_missing_component(own_bundle: Path, gpu: fake.FakeGpu) -> None:
    bundle = Bundle.open(own_bundle)
    (own_bundle / "model.fp32.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model.fp32.onnx: ONNX Runtime cannot load it"):
        open_model(bundle, backend="onnxruntime-cuda")
    shutil.rmtree(own_bundle)


def test_models_for_cpus_are_not_its(deeplab: Any) -> None:
    assert precisions("onnxruntime-cuda", Bundle.open(deeplab.bundle)) == ["fp32"]


@pytest.mark.skipif(driver().state == WORKS, reason="there is a GPU, which would run it")
def test_without_a_gpu_the_real_library_ends_it(deeplab: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MissingComponentError) as caught:
        open_model(deeplab.bundle, backend="onnxruntime-cuda")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert ".so" in str(caught.value)  # the loader's own word
    assert capfd.readouterr() == ("", "")


def test_a_run_that_onnxruntime_refuses_is_one_line(tiny: Bundle, gpu: fake.FakeGpu) -> None:
    with open_model(tiny, backend="onnxruntime-cuda") as model:
        model.size = None  # so that frames of another size reach the session
        with pytest.raises(
            UserError, match=r"^onnxruntime-cuda fp32: cannot run a batch of 1 \(.*dimensions"
        ):
            model.run(np.zeros((1, 5, 7, 3), np.uint8))
