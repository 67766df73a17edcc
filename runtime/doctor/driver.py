"""Checks of NVIDIA's driver, through libcuda itself, and of its Python bindings."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding, missing_library, one_line
from kd_deploy.runtime.doctor.libraries import imported

NAME = "nvidia-driver"

_MODULE = Path("/sys/module/nvidia/version")
"""The version of the kernel's part; a Jetson's and Windows's driver have none there."""


class _CudaError(RuntimeError):
    """libcuda refused a call."""


def load_libcuda() -> Any:
    """The driver's library.

    Raises:
        OSError: it is not there.
    """
    if sys.platform == "win32":
        return ctypes.WinDLL("nvcuda.dll")  # type: ignore[attr-defined,unused-ignore]  # on Windows alone
    return ctypes.CDLL("libcuda.so.1")


def driver(load: Callable[[], Any] = load_libcuda) -> Finding:
    """The driver and the GPUs that it sees; its CUDA version is the newest that it can serve."""
    try:
        cuda = load()
    except OSError as error:
        return Finding(NAME, MISSING, reason=one_line(error), lacks=missing_library(str(error)))
    served, version = None, _read(_MODULE)
    try:
        served = _version(cuda)
        _call(cuda, "cuInit", 0)
        gpus = [_gpu(cuda, index) for index in range(_count(cuda))]
    except _CudaError as error:
        return Finding(NAME, BROKEN, version, _serves(served), str(error), facts={"cuda": served})
    facts = {"cuda": served, "gpus": gpus}
    if not gpus:
        return Finding(NAME, BROKEN, version, _serves(served), "the driver sees no GPU", facts=facts)
    return Finding(NAME, WORKS, version, f"{', '.join(gpus)}; {_serves(served)}", facts=facts)


def _serves(version: str | None) -> str:
    return f"serves CUDA up to {version}" if version else ""


def _version(cuda: Any) -> str:
    number = ctypes.c_int()
    _call(cuda, "cuDriverGetVersion", ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _count(cuda: Any) -> int:
    number = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(number))
    return number.value


def _gpu(cuda: Any, index: int) -> str:
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    _call(cuda, "cuDeviceGet", ctypes.byref(handle), index)
    _call(cuda, "cuDeviceGetName", name, len(name), handle)
    return name.value.decode(errors="replace")


def _call(cuda: Any, function: str, *arguments: Any) -> None:
    """Call libcuda; its error's name and text become the exception's."""
    status = getattr(cuda, function)(*arguments)
    if status:
        texts = []
        for describe in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            if not getattr(cuda, describe)(status, ctypes.byref(text)) and text.value:
                texts.append(text.value.decode(errors="replace"))
        raise _CudaError(f"{function}: {': '.join(texts) or f'error {status}'}")


def cuda_bindings() -> Finding:
    """The CUDA runtime that TensorRT's runner calls; it asks for the GPU."""

    def try_it(module: ModuleType) -> Finding:
        from kd_deploy.runtime import cuda
        from kd_deploy.runtime.errors import UserError

        version = getattr(sys.modules.get("cuda.bindings"), "__version__", None)
        try:
            built = cuda.version()
            gpu = cuda.gpu()
        except (cuda.CudaError, UserError) as error:
            ill = Finding("cuda-bindings", FOUND, version, reason=one_line(error).partition(";")[0])
            return ill if driver().state != WORKS else replace(ill, state=BROKEN)
        detail = f"CUDA runtime {built}, {gpu.name}, compute capability {gpu.capability}"
        return Finding("cuda-bindings", WORKS, version, detail, facts={"cuda": built})

    return imported("cuda-bindings", "cuda.bindings.runtime", try_it)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None
