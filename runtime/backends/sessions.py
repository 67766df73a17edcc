"""What ONNX Runtime's backends share: the library, quiet, and a session over a bundle's file."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from kd_deploy.runtime.bundle import MANIFEST, Bundle
from kd_deploy.runtime.errors import INSTALL, MissingComponentError, UserError

_ERRORS = 3
"""The severity from which ONNX Runtime speaks: ours are the words that the user reads."""


def library() -> ModuleType:
    """onnxruntime.

    Raises:
        MissingComponentError: it is not installed, or lacks a library of its own.
    """
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise MissingComponentError(f"onnxruntime: cannot be imported ({error}); {INSTALL}") from error
    onnxruntime.set_default_logger_severity(_ERRORS)
    module: ModuleType = onnxruntime
    return module


def make_session(file: Path, options: Any, providers: list[Any]) -> Any:
    """An InferenceSession.

    Raises:
        UserError: ONNX Runtime does not load the file.
    """
    try:
        return library().InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # it has an exception of its own for every status
        raise UserError(f"{file}: ONNX Runtime cannot load it ({first_line(error)})") from error


def run_errors() -> tuple[type[Exception], ...]:
    """What a run raises: an exception of its own for every status, which have only `Exception` in common."""
    state = vars(importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state"))
    return tuple(kind for kind in state.values() if isinstance(kind, type) and issubclass(kind, Exception))


def check_size(session: Any, bundle: Bundle) -> None:
    """Raise a UserError where the manifest's size is not the one that the graph takes; a free side is a name there."""
    size = session.get_inputs()[0].shape[1:3]
    if any(isinstance(side, int) and side != own for side, own in zip(size, bundle.size, strict=True)):
        raise UserError(
            f"{bundle.path / MANIFEST}: input.size is {list(bundle.size)}, the model's is {list(size)}; "
            "export the bundle again"
        )


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
