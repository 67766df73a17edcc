"""The components, in the order in which they are shown, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass

EVERYTHING, BACKEND = "everything", "backend"
"""The roles of what no bundle can do without, and of what can run one."""

_HERE = "kd_deploy.runtime.doctor"


@dataclass(frozen=True)
class Check:
    """One component's check.

    Attributes:
        name: of the component.
        target: MODULE:FUNCTION, which gives a Finding.
        role: what it is for.
        timeout: seconds until it counts as hung.
    """

    name: str
    target: str
    role: str
    timeout: float = 30


CHECKS = (
    Check("python", f"{_HERE}.libraries:python", EVERYTHING),
    Check("numpy", f"{_HERE}.libraries:numpy", EVERYTHING),
    Check("opencv", f"{_HERE}.libraries:opencv", EVERYTHING),
    Check("onnxruntime-cpu", f"{_HERE}.backends:onnxruntime_cpu", BACKEND),
    Check("openvino", f"{_HERE}.backends:openvino", BACKEND),
    Check("nvidia-driver", f"{_HERE}.driver:driver", "NVIDIA GPUs"),
    Check("onnxruntime-cuda", f"{_HERE}.backends:onnxruntime_cuda", BACKEND, timeout=120),
    Check("cuda-bindings", f"{_HERE}.driver:cuda_bindings", "tensorrt"),
    Check("tensorrt", f"{_HERE}.engine:tensorrt", BACKEND, timeout=300),
    Check("torch", f"{_HERE}.libraries:torch", "training, export", timeout=60),
    Check("onnx", f"{_HERE}.libraries:onnx", "export"),
    Check("onnxscript", f"{_HERE}.libraries:onnxscript", "export", timeout=60),
    Check("onnxsim", f"{_HERE}.libraries:onnxsim", "export --simplify"),
)
"""A GPU's first use takes its time, on a Jetson above all."""
