"""TensorRT and the CUDA runtime's bindings, imported when first used: `trt` and `cudart`.

Whatever of them is missing is one line with the two ways on. A type checker sees the real modules.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kd_deploy.runtime.doctor.platforms import detect
from kd_deploy.runtime.doctor.remedies import tensorrt as install_tensorrt
from kd_deploy.runtime.errors import MissingComponentError

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

__all__ = ["cudart", "trt"]


class _Lazy:
    """A module that is imported for its first attribute.

    Raises:
        MissingComponentError: it is not installed, or lacks a library of its own (an ImportError names that, or an
            OSError, as ctypes and cuda-bindings under Windows raise it).
    """

    def __init__(self, name: str, library: str) -> None:
        self._name, self._library = name, library

    def __getattr__(self, name: str) -> Any:
        try:
            module = importlib.import_module(self._name)
        except (ImportError, OSError) as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise MissingComponentError(
                f"{self._library}: cannot be imported ({reason}); {install_tensorrt(detect())}, or carry the bundle "
                "to the device and run kd-deploy build BUNDLE there"
            ) from error
        return getattr(module, name)


if not TYPE_CHECKING:
    trt = _Lazy("tensorrt", "tensorrt")
    cudart = _Lazy("cuda.bindings.runtime", "cuda-bindings")
