"""Run a bundle on the device: numpy, OpenCV and one backend, never torch.

The names below are the library; each is imported when it is first used, so that `import kd_deploy.runtime` costs
nothing. `segment` stays in its own module, `kd_deploy.runtime.segment`, whose name it has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kd_deploy.runtime.telemetry import disable_onnxruntime_telemetry

if TYPE_CHECKING:
    from kd_deploy.runtime.bundle import Bundle
    from kd_deploy.runtime.errors import MissingComponentError, UserError
    from kd_deploy.runtime.images import read_image, write_image
    from kd_deploy.runtime.model import CannotRunError, Description, Model, open_model
    from kd_deploy.runtime.overlay import Overlay, blend, colorize

__all__ = [
    "Bundle",
    "CannotRunError",
    "Description",
    "MissingComponentError",
    "Model",
    "Overlay",
    "UserError",
    "blend",
    "colorize",
    "open_model",
    "read_image",
    "write_image",
]

_HOME = {
    "Bundle": "bundle",
    "CannotRunError": "model",
    "Description": "model",
    "MissingComponentError": "errors",
    "Model": "model",
    "Overlay": "overlay",
    "UserError": "errors",
    "blend": "overlay",
    "colorize": "overlay",
    "open_model": "model",
    "read_image": "images",
    "write_image": "images",
}
"""Name -> the module of this package that has it."""

disable_onnxruntime_telemetry()

if not TYPE_CHECKING:  # a type checker sees the real ones

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
