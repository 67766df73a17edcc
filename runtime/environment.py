"""Where a number was measured: machine, system and library versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

_DISTRIBUTIONS = {
    "kd-deploy": ("kd-deploy",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "tensorrt": ("tensorrt",),
    "torch": ("torch",),
    "onnx": ("onnx",),
    "onnxscript": ("onnxscript",),
}
"""Library -> the distributions that may bring it."""

_MODULES = {"opencv": "cv2"}


def environment() -> dict[str, Any]:
    """What stands beside a measurement, ready for JSON; nothing is imported for it.

    Returns:
        machine: the board's own name (Jetson), else the processor architecture; cpu: the processor's model;
        cores: those this process may use; os; python; versions: library -> version, of those installed;
        load_average: processes waiting or running over 1, 5 and 15 minutes, None where the system has none;
        power_mode: of a Jetson, None elsewhere;
        date: UTC, ISO 8601.
    """
    return {
        "machine": _read(Path("/proc/device-tree/model")).strip("\0\n ") or platform.machine(),
        "cpu": cpu_name(),
        "cores": cores(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "load_average": load_average(),
        "power_mode": power_mode(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Library -> version, of those that matter here and are installed."""
    return {name: version for name in _DISTRIBUTIONS if (version := _version(name))}


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> list[float] | None:
    """The system's load over 1, 5 and 15 minutes; None on Windows."""
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None


def power_mode() -> str | None:
    """A Jetson's power mode, such as "MAXN", as `nvpmodel -q` gives it; None elsewhere. It is only asked for."""
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    for line in done.stdout.splitlines():
        _, there, mode = line.partition("NV Power Mode:")
        if there:
            return mode.strip()
    return None


def cpu_name() -> str:
    """The processor's model, or its architecture where the system does not say."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    for distribution in _DISTRIBUTIONS[name]:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    # A Jetson's own OpenCV comes with the system, not with pip.
    module = sys.modules.get(_MODULES.get(name, name))
    return getattr(module, "__version__", None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
