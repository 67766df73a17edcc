"""NVIDIA's driver, over a fake libcuda, and its Python bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kd_deploy.runtime.doctor import driver as module
from kd_deploy.runtime.doctor.driver import cuda_bindings, driver, load_libcuda
from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding
from tests.runtime.gpu import FakeGpu

TEXTS = {
    100: (b"CUDA_ERROR_NO_DEVICE", b"no CUDA-capable device is detected"),
    803: (b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", b"system has unsupported display driver"),
}


class Libcuda:
    """As much of libcuda as is called, with C's conventions."""

    def __init__(self, gpus: Sequence[str] = (), version: int = 13020, fails: int = 0) -> None:
        self._gpus, self._number, self._fails, self._begun = gpus, version, fails, False

    def cuDriverGetVersion(self, number: Any) -> int:  # noqa: N802
        number._obj.value = self._number
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self._begun = flags == 0
        return self._fails

    def cuDeviceGetCount(self, number: Any) -> int:  # noqa: N802
        assert self._begun
        number._obj.value = len(self._gpus)
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        handle._obj.value = 40 + index
        return 0

    def cuDeviceGetName(self, name: Any, size: int, handle: ctypes.c_int) -> int:  # noqa: N802
        name.value = self._gpus[handle.value - 40].encode()[: size - 1]
        return 0

    def cuGetErrorName(self, status: int, text: Any) -> int:  # noqa: N802
        return self._describe(status, text, 0)

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        return self._describe(status, text, 1)

    def _describe(self, status: int, text: Any, which: int) -> int:
        if status not in TEXTS:
            return 1
        text._obj.value = TEXTS[status][which]
        return 0


def test_a_driver_and_its_gpus() -> None:
    finding = driver(lambda: Libcuda(["NVIDIA H200", "NVIDIA L4"]))
    assert (finding.state, finding.reason) == (WORKS, "")
    assert finding.detail == "NVIDIA H200, NVIDIA L4; serves CUDA up to 13.2"
    assert finding.facts == {"cuda": "13.2", "gpus": ["NVIDIA H200", "NVIDIA L4"]}


@pytest.mark.parametrize(
    ("libcuda", "reason"),
    [
        (Libcuda(fails=100), "cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"),
        (
            Libcuda(fails=803),
            "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported display driver",
        ),
        (Libcuda(fails=9999), "cuInit: error 9999"),
        (Libcuda(), "the driver sees no GPU"),
    ],
)
def test_a_driver_that_does_not_serve(libcuda: Libcuda, reason: str) -> None:
    finding = driver(lambda: libcuda)
    assert (finding.state, finding.reason) == (BROKEN, reason)
    assert finding.detail == "serves CUDA up to 13.2"


def test_a_machine_without_a_driver() -> None:
    def load() -> Any:
        return ctypes.CDLL("libcuda_of_another_machine.so.1")

    finding = driver(load)
    assert (finding.state, finding.lacks) == (MISSING, "libcuda_of_another_machine.so.1")
    assert "cannot open shared object file" in finding.reason


def test_windows_has_another_name_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: name, raising=False)
    assert load_libcuda() == "nvcuda.dll"


def test_bindings_that_reach_the_gpu(gpu: FakeGpu) -> None:
    finding = cuda_bindings()
    assert (finding.state, finding.facts) == (WORKS, {"cuda": "12.6"})
    assert finding.detail == "CUDA runtime 12.6, Orin, compute capability 8.7"


@pytest.mark.parametrize(("driver_state", "state"), [(WORKS, BROKEN), (MISSING, FOUND)])
def test_bindings_without_a_gpu(
    driver_state: str, state: str, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(cuda={"gpu": None})
    monkeypatch.setattr(module, "driver", lambda: Finding("nvidia-driver", driver_state))
    finding = cuda_bindings()
    assert (finding.state, finding.reason) == (
        state,
        "GPU: CUDA: insufficientdriver (cudaErrorInsufficientDriver)",
    )


def test_bindings_that_are_not_installed(
    shim: Callable[[str, str], None], check: Callable[[str], Finding]
) -> None:
    shim("cuda", "")
    assert (check("cuda-bindings").state, check("cuda-bindings").reason) == (MISSING, "is not installed")
