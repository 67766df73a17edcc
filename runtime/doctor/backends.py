"""Checks of the backends: each runs the tiny network, and its mask is compared with NumPy's.

Each is run in a process of its own. The CUDA provider is API-checked and run over a fake, not on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.doctor.driver import driver
from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding, missing_library, one_line
from kd_deploy.runtime.doctor.libraries import ONNXRUNTIME, imported, installed
from kd_deploy.runtime.doctor.tiny import MODEL, expected, frame
from kd_deploy.runtime.telemetry import no_openvino_telemetry

Array = NDArray[np.uint8]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def onnxruntime_cpu() -> Finding:
    """ONNX Runtime's CPU provider."""

    def try_it(ort: ModuleType) -> Finding:
        facts = {"distributions": installed(ONNXRUNTIME)}
        return judged("onnxruntime-cpu", ort.__version__, lambda: _session(ort, CPU), facts)

    return imported("onnxruntime-cpu", "onnxruntime", try_it)


def onnxruntime_cuda() -> Finding:
    """ONNX Runtime's CUDA provider; it names the libraries that it lacks on stderr alone, which the parent reads."""

    def try_it(ort: ModuleType) -> Finding:
        name, version = "onnxruntime-cuda", ort.__version__
        if CUDA not in ort.get_available_providers():
            return Finding(name, MISSING, version, reason="this onnxruntime was built without CUDA")
        facts = {"cuda": _built_for()}
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # pip's CUDA libraries; what it does not find it only says
        finding = judged(name, version, lambda: _session(ort, CUDA), facts)
        return without_gpu(finding)

    return imported("onnxruntime-cuda", "onnxruntime", try_it)


def _built_for() -> str | None:
    """The CUDA version that onnxruntime-gpu was built for."""
    try:
        return str(import_module("onnxruntime.capi.build_and_package_info").cuda_version) or None
    except (ImportError, AttributeError):
        return None


def _session(ort: ModuleType, provider: str) -> Array:
    """The mask, by this provider and no other: a session falls back to the CPU in silence otherwise."""
    options = ort.SessionOptions()
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(str(MODEL), options, providers=[provider])
    session.disable_fallback()
    used = session.get_providers()[0]
    if used != provider:
        raise RuntimeError(f"{provider} was asked for, {used} came")
    mask: Array = session.run(["mask"], {"frame": frame()})[0]
    return mask


def openvino() -> Finding:
    """OpenVINO on the CPU; its other devices are listed."""

    def try_it(ov: ModuleType) -> Finding:
        core = ov.Core()

        def run() -> Array:
            compiled = core.compile_model(str(MODEL), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            mask: Array = compiled({"frame": frame()})["mask"]
            return mask

        devices = ", ".join(core.available_devices)
        return judged("openvino", ov.__version__.partition("-")[0], run, detail=f"devices: {devices}")

    with no_openvino_telemetry():
        return imported("openvino", "openvino", try_it)


def judged(
    name: str,
    version: str,
    run: Callable[[], Array],
    facts: dict[str, Any] | None = None,
    detail: str = "",
) -> Finding:
    """Whether `run` gives the mask that NumPy gives."""
    try:
        mask, right = run(), expected(frame())
    except Exception as error:  # whatever a library throws is the finding
        reason, lacks = one_line(error), missing_library(str(error))
        return Finding(name, BROKEN, version, detail, reason, lacks, facts or {})
    reason = ""
    if mask.shape != right.shape or mask.dtype != right.dtype:
        reason = f"its mask is {mask.dtype} {mask.shape}, not {right.dtype} {right.shape}"
    elif wrong := int((mask != right).sum()):
        reason = f"its mask is wrong in {wrong} of {right.size} pixels"
    return Finding(name, BROKEN if reason else WORKS, version, detail, reason, facts=facts or {})


def without_gpu(finding: Finding) -> Finding:
    """A library for a GPU that fails where none is, is not broken: it is there."""
    if finding.state != BROKEN or driver().state == WORKS:
        return finding
    return replace(finding, state=FOUND, detail="no usable NVIDIA GPU here")
