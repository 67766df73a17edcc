"""How much memory this process and the GPU hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kd_deploy.runtime.errors import UserError

ON_GPU = ("onnxruntime-cuda", "tensorrt")
"""Backends that compute on a GPU; for the others CUDA, whose context alone takes memory, is not touched."""

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Megabytes (10^6 bytes) at one moment; None where the system does not say.

    Attributes:
        rss_mb: resident memory of this process, all that is open in it together.
        peak_mb: the most that it ever was.
        gpu_mb: memory of the GPU in use, by all processes; on a Jetson, which shares it, the system's.
    """

    rss_mb: float | None
    peak_mb: float | None
    gpu_mb: float | None


def memory(backend: str = "") -> Memory:
    """Now; with the GPU's where `backend` computes there. Only Linux tells."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    return Memory(
        _megabytes(known.get("VmRSS")),
        _megabytes(known.get("VmHWM")),
        _gpu() if backend in ON_GPU else None,
    )


def _megabytes(text: str | None) -> float | None:
    """Of "  1234 kB", which are 1024 bytes each."""
    return None if text is None else int(text.split()[0]) * 1024 / 1e6


def _gpu() -> float | None:
    try:
        from kd_deploy.runtime import cuda

        return cuda.used_memory() / 1e6
    except (
        ImportError,
        RuntimeError,
        UserError,
    ):  # no bindings, no driver, no GPU: the backend itself says so
        return None
