"""Each backend runs the tiny network, in a process of its own; what is not here is a fake."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from kd_deploy.runtime.doctor import backends
from kd_deploy.runtime.doctor.backends import judged, without_gpu
from kd_deploy.runtime.doctor.driver import driver
from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding
from kd_deploy.runtime.doctor.tiny import expected, frame
from tests.runtime.gpu import FakeGpu

Shim = Callable[[str, str], None]
Run = Callable[[str], Finding]

ORT = """
import os
__version__ = "1.31.1"
class SessionOptions:
    entries = {}
    def add_session_config_entry(self, key, value): self.entries[key] = value
class InferenceSession:
    def __init__(self, path, options, providers):
        self.providers = providers
        %s
    def disable_fallback(self): self.fixed = True
    def get_providers(self): return [%r]
    def run(self, names, feeds):
        assert self.fixed and os.environ["TINY"]
        frame = feeds["frame"]
        return [frame[..., ::-1].argmax(-1).astype("uint8")]
def get_available_providers(): return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
def preload_dlls(): print("noise")
"""
STRICT = 'assert options.entries == {"session.disable_cpu_ep_fallback": "1"}'
LACKS = (
    "os.system('echo FAIL : Failed to load library x.so with error: libcudnn.so.9: cannot open shared object "
    "file: No such file or directory >&2'); raise RuntimeError('graph nodes')"
)


def test_onnxruntime_on_the_cpu_really_runs(check: Run) -> None:
    finding = check("onnxruntime-cpu")
    assert (finding.state, finding.version, finding.reason) == (WORKS, onnxruntime.__version__, "")
    assert len(finding.facts["distributions"]) == 1


def test_openvino_really_runs(check: Run) -> None:
    pytest.importorskip("openvino")
    finding = check("openvino")
    assert (finding.state, finding.reason) == (WORKS, "")
    assert "CPU" in finding.detail


@pytest.mark.skipif(driver().state == WORKS, reason="this machine has a GPU")
def test_the_cuda_provider_without_a_gpu_is_never_said_to_work(check: Run) -> None:
    finding = check("onnxruntime-cuda")
    assert finding.state in (FOUND, MISSING)
    assert finding.reason
    if finding.state == FOUND:
        assert finding.detail == "no usable NVIDIA GPU here"


def test_the_cuda_provider_runs_under_the_strict_option(
    shim: Shim, check: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY", "1")
    shim("onnxruntime", ORT % (STRICT, "CUDAExecutionProvider"))
    finding = check("onnxruntime-cuda")
    assert (finding.state, finding.reason, finding.version) == (WORKS, "", "1.31.1")


@pytest.mark.parametrize(
    ("creation", "provider", "reason", "lacks"),
    [
        (
            LACKS,
            "",
            "libcudnn.so.9: cannot open shared object file: No such file or directory",
            "libcudnn.so.9",
        ),
        ("", "CPUExecutionProvider", "CUDAExecutionProvider was asked for, CPUExecutionProvider came", None),
    ],
)
def test_a_cuda_provider_that_does_not_come(
    creation: str, provider: str, reason: str, lacks: str | None, shim: Shim, check: Run
) -> None:
    shim("onnxruntime", ORT % (creation or "pass", provider))
    finding = check("onnxruntime-cuda")
    assert finding.state != WORKS
    assert (finding.reason, finding.lacks) == (reason, lacks)


def test_an_onnxruntime_without_cuda(shim: Shim, check: Run) -> None:
    shim(
        "onnxruntime",
        "__version__ = '1.31.1'\ndef get_available_providers(): return ['CPUExecutionProvider']",
    )
    finding = check("onnxruntime-cuda")
    assert (finding.state, finding.reason) == (MISSING, "this onnxruntime was built without CUDA")


def test_tensorrt_builds_an_engine_and_runs_it(gpu: FakeGpu, check: Run) -> None:
    assert check("tensorrt") == Finding("tensorrt", WORKS, "10.3.0")
    gpu(version="11.4.0.106")
    assert check("tensorrt") == Finding("tensorrt", WORKS, "11.4.0.106")


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ({"wrong": True}, "its mask is wrong in "),
        ({"crash": True}, "crashed: SIGABRT"),
        ({"fails": True}, "TensorRT 10.3.0 cannot build it (Error Code 10"),
        ({"null": True}, "tensorrt: 10.3.0 cannot use a GPU here (createInferBuilder"),
    ],
)
def test_a_tensorrt_that_does_not_do_its_work(
    scenario: dict[str, bool], reason: str, gpu: FakeGpu, check: Run
) -> None:
    gpu(**scenario)
    finding = check("tensorrt")
    assert finding.state != WORKS
    assert reason in finding.reason


def test_a_tensorrt_that_lacks_a_library(shim: Shim, check: Run) -> None:
    said = "libnvinfer.so.10: cannot open shared object file: No such file or directory"
    shim("tensorrt", f"raise ImportError({said!r})")
    assert check("tensorrt") == Finding("tensorrt", BROKEN, reason=said, lacks="libnvinfer.so.10")


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino"])
def test_a_broken_opencv_breaks_no_backend(name: str, shim: Shim, check: Run) -> None:
    shim("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    assert check(name).state == WORKS


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino", "tensorrt"])
def test_a_backend_without_numpy_says_that_it_needs_it(name: str, shim: Shim, check: Run) -> None:
    shim("numpy", "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')")
    finding = check(name)
    assert (finding.state, finding.facts) == (BROKEN, {"needs": "numpy"})


def test_a_mask_is_compared_with_numpys() -> None:
    right = expected(frame())
    assert judged("x", "1", lambda: right).state == WORKS
    wrong = right.copy()
    wrong[0, 0, :2] ^= 1
    assert judged("x", "1", lambda: wrong).reason == "its mask is wrong in 2 of 64 pixels"
    both = np.concatenate((right, right))
    assert judged("x", "1", lambda: both).reason == "its mask is uint8 (2, 8, 8), not uint8 (1, 8, 8)"
    assert judged("x", "1", lambda: right.astype(np.int64)).state == BROKEN


@pytest.mark.parametrize(("driver_state", "state"), [(WORKS, BROKEN), (MISSING, FOUND), (BROKEN, FOUND)])
def test_what_fails_where_no_gpu_is_is_not_broken(
    driver_state: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "driver", lambda: Finding("nvidia-driver", driver_state))
    assert without_gpu(Finding("tensorrt", BROKEN, reason="no")).state == state
    assert without_gpu(Finding("tensorrt", WORKS)).state == WORKS
