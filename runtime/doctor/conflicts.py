"""What does not go together although each part of it is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kd_deploy.runtime.doctor.finding import Finding
from kd_deploy.runtime.doctor.platforms import Platform
from kd_deploy.runtime.doctor.remedies import driver, onnxruntime
from kd_deploy.runtime.engines.key import version_tuple

_NUMPY_2 = (10, 14)
"""The first TensorRT that is right with NumPy 2: before, Weights.numpy() repeats its first element."""

_DRIVERS = {12: "525", 13: "580"}
"""CUDA's major version -> the first driver that serves it."""


@dataclass(frozen=True)
class Conflict:
    """Two things that do not go together.

    Attributes:
        text: what, in one line.
        remedy: what to type.
    """

    text: str
    remedy: str


def conflicts(findings: Mapping[str, Finding], platform: Platform) -> list[Conflict]:
    """Every conflict among the findings, which stand under their components' names."""
    return [
        *_jetpack(platform),
        *_packages(findings, platform),
        *_numpy(findings),
        *_cuda(findings, platform),
        *_virtual_environment(findings, platform),
    ]


def _packages(findings: Mapping[str, Finding], platform: Platform) -> Iterator[Conflict]:
    """Distributions that write the same folder."""
    opencv: list[str] = findings["opencv"].facts.get("distributions", [])
    if opencv and platform.jetpack is not None:
        yield Conflict(
            f"opencv: pip's {' and '.join(opencv)} hides this Jetson's own, which reads cameras through GStreamer",
            f"pip uninstall -y {' '.join(opencv)}",
        )
    elif len(opencv) > 1:
        yield Conflict(
            f"opencv: {' and '.join(opencv)} are both installed and overwrite each other",
            f"pip uninstall -y {' '.join(opencv)}, then pip install {opencv[0]}",
        )
    both: list[str] = findings["onnxruntime-cpu"].facts.get("distributions", [])
    if len(both) > 1:
        yield Conflict(
            f"onnxruntime: {' and '.join(both)} are both installed and overwrite each other",
            f"pip uninstall -y {' '.join(both)}, then pip install {onnxruntime(platform)}",
        )


def _numpy(findings: Mapping[str, Finding]) -> Iterator[Conflict]:
    numpy, tensorrt = findings["numpy"].version, findings["tensorrt"].version
    if numpy and tensorrt and version_tuple(numpy)[0] >= 2 and version_tuple(tensorrt)[:2] < _NUMPY_2:
        yield Conflict(
            f"numpy {numpy} with tensorrt {tensorrt}: TensorRT's Weights.numpy() is wrong there (kd-deploy does not "
            "use it, other programs may)",
            "pip install 'numpy>=1.26,<2'",
        )


def _cuda(findings: Mapping[str, Finding], platform: Platform) -> Iterator[Conflict]:
    """Libraries for a newer CUDA than the driver serves."""
    served = findings["nvidia-driver"].facts.get("cuda")
    if not served:
        return
    for name in ("onnxruntime-cuda", "cuda-bindings", "torch"):
        needed = findings[name].facts.get("cuda")
        if needed and version_tuple(needed)[0] > version_tuple(served)[0]:
            major = version_tuple(needed)[0]
            text = f"{name}: built for CUDA {needed}, and the driver serves CUDA up to {served}"
            if name == "cuda-bindings":
                yield Conflict(text, f"pip install 'cuda-bindings=={version_tuple(served)[0]}.*'")
            else:
                first = f"version {_DRIVERS[major]} or newer" if major in _DRIVERS else f"for CUDA {major}"
                yield Conflict(text, f"a driver of {first}: {driver(platform)}")


def _jetpack(platform: Platform) -> Iterator[Conflict]:
    if platform.jetpack is not None and platform.jetpack < 6:
        yield Conflict(
            f"JetPack {platform.jetpack}: its TensorRT is older than 10.3 and its Python older than 3.10",
            "flash JetPack 6 or 7",
        )


def _virtual_environment(findings: Mapping[str, Finding], platform: Platform) -> Iterator[Conflict]:
    if platform.jetpack is not None and not findings["python"].facts.get("system_packages", True):
        yield Conflict(
            "python: this virtual environment does not see the Jetson's own TensorRT and OpenCV",
            "python3 -m venv --system-site-packages VENV, and install kd-deploy there",
        )
