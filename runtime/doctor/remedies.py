"""What to type on this very machine for what is missing or broken.

A Jetson's TensorRT, OpenCV and CUDA come with JetPack: pip never replaces them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kd_deploy.runtime.doctor.finding import FOUND, MISSING, Finding
from kd_deploy.runtime.doctor.platforms import Platform

CHECKOUT = "in kd-deploy's checkout"

_VENV = "in a virtual environment made with --system-site-packages"

_APT = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
}
"""Shared library -> the package of Debian and Ubuntu that has it."""


def remedy(finding: Finding, platform: Platform) -> str:
    """The command or the step that mends a component here; empty where there is nothing to mend."""
    if not finding.ill:
        return ""
    if needs := {"numpy": _numpy, "cv2": _opencv}.get(finding.facts.get("needs", "")):
        return needs(replace(finding, state=MISSING), platform)
    package = _APT.get(finding.lacks or "")
    if package and platform.system == "Linux":
        return f"sudo apt install {package} (on Debian and Ubuntu; elsewhere the package that has {finding.lacks})"
    return _REMEDIES[finding.name](finding, platform)


def tensorrt(platform: Platform) -> str:
    """What brings TensorRT and cuda-bindings."""
    if platform.system == "macOS":
        return "TensorRT needs an NVIDIA GPU under Linux or Windows"
    if platform.jetpack is None:
        return f"with an NVIDIA GPU, {CHECKOUT}: pip install -e '.[tensorrt]'"
    return (
        "on this Jetson: sudo apt install python3-libnvinfer libnvinfer-bin, and in a virtual environment made "
        f"with --system-site-packages: pip install 'cuda-bindings=={platform.jetson_cuda}.*'"
    )


def onnxruntime(platform: Platform) -> str:
    """The distribution of ONNX Runtime for a machine."""
    return "onnxruntime-gpu" if platform.onnxruntime_gpu else "onnxruntime"


def driver(platform: Platform) -> str:
    """What brings NVIDIA's driver."""
    if platform.system == "macOS":
        return "there is no NVIDIA driver for macOS"
    if platform.jetpack is not None:
        return (
            "the driver is part of JetPack: sudo apt install nvidia-jetpack; in a container: docker run "
            "--runtime nvidia"
        )
    if platform.system == "Windows":
        return "with an NVIDIA GPU: install the driver from https://www.nvidia.com/drivers"
    return (
        "with an NVIDIA GPU: sudo ubuntu-drivers install and reboot (elsewhere https://www.nvidia.com/drivers); in a "
        "container: docker run --gpus all"
    )


def _python(finding: Finding, platform: Platform) -> str:
    return "use Python 3.10 or newer"


def _numpy(finding: Finding, platform: Platform) -> str:
    return f"pip install '{_numpy_for(platform)}'"


def _numpy_for(platform: Platform) -> str:
    """JetPack 6 has an OpenCV and a TensorRT that were built for NumPy 1."""
    return "numpy>=1.26,<2" if platform.jetpack == 6 else "numpy>=1.26"


def _opencv(finding: Finding, platform: Platform) -> str:
    if "numpy" in finding.reason or "_ARRAY_API" in finding.reason:
        return f"pip install --force-reinstall '{_numpy_for(platform)}' (OpenCV was built for another NumPy)"
    if platform.jetpack is not None:
        return f"sudo apt install python3-opencv, and run kd-deploy {_VENV}; pip's OpenCV has no GStreamer"
    again = "" if finding.state == MISSING else "--force-reinstall "
    return f"pip install {again}'opencv-python>=4.10' (without a display: opencv-python-headless)"


def _onnxruntime_cpu(finding: Finding, platform: Platform) -> str:
    again = "" if finding.state == MISSING else "--force-reinstall "
    return f"pip install {again}'{onnxruntime(platform)}>=1.22'"


def _onnxruntime_cuda(finding: Finding, platform: Platform) -> str:
    if not platform.onnxruntime_gpu:
        reason = "needs an NVIDIA GPU" if platform.system == "macOS" else "no wheel for this machine"
        return f"{reason}; use {'onnxruntime-cpu' if platform.system == 'macOS' else 'tensorrt'} instead"
    if finding.state == FOUND and not finding.lacks:
        return driver(platform)
    command = "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.22'"
    if finding.version and finding.state == MISSING:  # the CPU's distribution is there
        command = f"pip uninstall -y onnxruntime, then {command}"
    return f"with an NVIDIA GPU and its driver: {command}"


def _openvino(finding: Finding, platform: Platform) -> str:
    return f"pip install {'' if finding.state == MISSING else '--force-reinstall '}openvino"


def _driver(finding: Finding, platform: Platform) -> str:
    return driver(platform)


def _tensorrt(finding: Finding, platform: Platform) -> str:
    return driver(platform) if finding.state == FOUND else tensorrt(platform)


def _training(finding: Finding, platform: Platform) -> str:
    if platform.jetpack is not None:
        return "not needed on a device; train and export on another machine"
    return f"{CHECKOUT}: pip install -e '.[{'train' if finding.name == 'torch' else 'export'}]'"


def _onnxsim(finding: Finding, platform: Platform) -> str:
    return _training(finding, platform) if platform.jetpack is not None else "pip install onnxsim"


_REMEDIES: dict[str, Callable[[Finding, Platform], str]] = {
    "python": _python,
    "numpy": _numpy,
    "opencv": _opencv,
    "onnxruntime-cpu": _onnxruntime_cpu,
    "openvino": _openvino,
    "nvidia-driver": _driver,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "cuda-bindings": _tensorrt,
    "tensorrt": _tensorrt,
    "torch": _training,
    "onnx": _training,
    "onnxscript": _training,
    "onnxsim": _onnxsim,
}
