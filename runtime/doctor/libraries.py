"""Checks of the libraries; each is run in a process of its own, and imports nothing until it runs."""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

from kd_deploy.runtime.doctor.finding import (
    BROKEN,
    FOUND,
    MISSING,
    WORKS,
    Finding,
    one_line,
    without,
)

TRAINING = (3, 11)
"""The first Python of the training side; the runtime is content with 3.10."""

OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
"""Distributions that all write the same folder, cv2."""

ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
"""Likewise; whichever was installed last is the one that runs."""


def imported(name: str, module: str, then: Callable[[ModuleType], Finding]) -> Finding:
    """What `then` finds in a module, or why that cannot be imported."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        return Finding(name, MISSING, reason="is not installed") if absent else without(name, error)
    except Exception as error:  # whatever a library throws is the finding
        return Finding(name, BROKEN, reason=one_line(error))
    return then(found)


def installed(distributions: Sequence[str]) -> list[str]:
    """Those of the distributions that are installed."""
    names = []
    for name in distributions:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        names.append(name)
    return names


def python() -> Finding:
    """This interpreter."""
    version = platform.python_version()
    detail = sys.executable if sys.version_info >= TRAINING else f"{sys.executable}; training needs 3.11"
    facts = {"venv": sys.prefix != sys.base_prefix, "system_packages": _system_packages()}
    return Finding("python", WORKS, version, detail, facts=facts)


def _system_packages() -> bool:
    """Whether the system's packages can be imported: a Jetson's TensorRT and OpenCV are there."""
    if sys.prefix == sys.base_prefix:
        return True
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"include-system-site-packages\s*=\s*true", text, re.IGNORECASE))


def numpy() -> Finding:
    """NumPy multiplies."""

    def try_it(np: ModuleType) -> Finding:
        eye = np.eye(4, dtype=np.float32)
        right = bool((eye @ eye == eye).all())
        reason = "" if right else "a product of two matrices is wrong"
        return Finding("numpy", WORKS if right else BROKEN, np.__version__, reason=reason)

    return imported("numpy", "numpy", try_it)


def opencv() -> Finding:
    """OpenCV writes a picture and reads it back; what its build can show and read."""

    def try_it(cv2: ModuleType) -> Finding:
        import numpy as np

        from kd_deploy.runtime.video.opencv import build_options

        picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
        done, data = cv2.imencode(".png", picture)
        right = done and bool((cv2.imdecode(data, cv2.IMREAD_COLOR) == picture).all())
        reason = "" if right else "a picture that was written is read as another"
        built = build_options(cv2.getBuildInformation())
        facts = {"built": built, "distributions": installed(OPENCV)}
        state = WORKS if right else BROKEN
        return Finding("opencv", state, cv2.__version__, _build_line(built), reason, facts=facts)

    return imported("opencv", "cv2", try_it)


def _build_line(built: dict[str, str]) -> str:
    words = [f"GUI {built['gui']}" if built["gui"] else "headless"]
    names = {"ffmpeg": "FFMPEG", "gstreamer": "GStreamer", "v4l": "V4L2"}
    words += [name if built[key] else f"no {name}" for key, name in names.items()]
    return ", ".join(words)


def torch() -> Finding:
    """PyTorch adds two numbers: the training side, and the reference backend."""

    def try_it(module: ModuleType) -> Finding:
        right = float(module.ones(2).sum()) == 2
        built = f"built for CUDA {module.version.cuda}" if module.version.cuda else "built for the CPU"
        detail = f"{built}, {'sees a GPU' if module.cuda.is_available() else 'sees no GPU'}"
        reason = "" if right else "1 + 1 is not 2"
        facts = {"cuda": module.version.cuda}
        return Finding("torch", WORKS if right else BROKEN, module.__version__, detail, reason, facts=facts)

    return imported("torch", "torch", try_it)


def onnx() -> Finding:
    """ONNX reads the model that this package brings."""

    def try_it(module: ModuleType) -> Finding:
        from kd_deploy.runtime.doctor.tiny import MODEL

        module.checker.check_model(module.load(str(MODEL)))
        return Finding("onnx", WORKS, module.__version__)

    return imported("onnx", "onnx", try_it)


def onnxscript() -> Finding:
    return imported("onnxscript", "onnxscript", lambda module: _there("onnxscript", module))


def onnxsim() -> Finding:
    return imported("onnxsim", "onnxsim", lambda module: _there("onnxsim", module))


def _there(name: str, module: ModuleType) -> Finding:
    version = getattr(module, "__version__", None)
    return Finding(name, FOUND, version and str(version).removeprefix("v"))
