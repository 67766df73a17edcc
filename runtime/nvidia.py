"""TensorRT and the CUDA runtime's bindings, imported when first used: `trt` and `cudart`.

Whatever of them is missing is one line with the two ways on. A type checker sees the real modules.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_deploy.runtime.errors import MissingComponentError

if TYPE_CHECKING:
    import tensorrt as trt
    from cuda.bindings import runtime as cudart

__all__ = ["cudart", "trt"]

_JETSON = Path("/etc/nv_tegra_release")  # "# R36 (release), ..." on JetPack 6, R38 and later on JetPack 7


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
                f"{self._library}: cannot be imported ({reason}); {_install()}, or carry the bundle to the device and "
                "run kd-deploy build BUNDLE there"
            ) from error
        return getattr(module, name)


def _install() -> str:
    """What brings both libraries on this machine; pip must not replace a Jetson's own TensorRT."""
    if sys.platform == "darwin":
        return "TensorRT needs an NVIDIA GPU under Linux or Windows"
    if not _JETSON.exists():
        return "with an NVIDIA GPU, in kd-deploy's checkout: pip install -e '.[tensorrt]'"
    cuda = 12 if "R36" in _JETSON.read_text(encoding="utf-8", errors="replace") else 13
    return (
        "on this Jetson: sudo apt install python3-libnvinfer libnvinfer-bin, and in a virtual environment made "
        f"with --system-site-packages: pip install 'cuda-bindings=={cuda}.*'"
    )


if not TYPE_CHECKING:
    trt = _Lazy("tensorrt", "tensorrt")
    cudart = _Lazy("cuda.bindings.runtime", "cuda-bindings")
