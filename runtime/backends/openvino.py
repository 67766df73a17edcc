"""OpenVINO on a CPU: the channels-first graph in float32, in bfloat16 where the processor has it, or in int8."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.backends.sessions import first_line
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.telemetry import no_openvino_telemetry

DEVICE: Final = "CPU"

_INSTALL = "in kd-deploy's checkout: pip install -e '.[openvino]'"

MODELS: Final = {"fp32": "fp32", "bf16": "fp32", "int8": "int8"}
"""Precision -> the bundle's model. OpenVINO makes bfloat16 of float32 itself, and of what is float in the int8 graph,
which saves a quarter of its time; the order for ONNX Runtime's CPU (fp32-cpu, int8-cpu) is slow here."""


class OpenVino(Model):
    """A compiled model and its one request."""

    def __init__(self, bundle: Bundle, precision: str, threads: int | None = None) -> None:
        """Compile a precision of a bundle.

        Raises:
            UserError: the bundle or this processor has no such precision, or OpenVINO does not load the file.
            MissingComponentError: openvino is not installed.
        """
        ov = _library()
        core = ov.Core()
        _refuse(core, precision)
        self._bf16 = precision != "fp32" and _has_bf16(core)
        file = bundle.model_file(MODELS[precision])
        hint = "bf16" if self._bf16 else "f32"
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        if threads is not None:
            # Each model counts its cores from the first: pinned, several of one thread would share that one.
            config |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        try:
            self._request = core.compile_model(str(file), DEVICE, config).create_infer_request()
        except RuntimeError as error:
            raise UserError(f"{file}: OpenVINO cannot load it ({first_line(error)})") from error
        self.size, self.batch = bundle.size, bundle.batch
        self._tensor, self._precision, self._version = ov.Tensor, precision, ov.__version__.partition("-")[0]

    def describe(self) -> Description:
        return Description(
            backend="openvino",
            precision=self._precision,
            device=cpu_name()
            + (", bfloat16 beside int8" if self._bf16 and self._precision == "int8" else ""),
            versions={"openvino": self._version, "numpy": np.__version__},
        )

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        masks = np.empty(frames.shape[:3], np.uint8)
        self._run_into(frames, masks)
        return masks

    def _run_into(self, frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
        # Both are read and written where they lie; what may not be written, OpenVINO does not even read.
        frames = frames if frames.flags.writeable else frames.copy()
        self._request.set_input_tensor(self._tensor(frames, shared_memory=True))
        self._request.set_output_tensor(self._tensor(masks, shared_memory=True))
        self._request.infer()

    def _close(self) -> None:
        del self._request


def _library() -> Any:
    try:
        with no_openvino_telemetry():
            import openvino
    except (ImportError, OSError) as error:
        raise MissingComponentError(f"openvino: cannot be imported ({error}); {_INSTALL}") from error
    return openvino


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _refuse(core: Any, precision: str) -> None:
    if precision not in MODELS:
        raise UserError(f"--precision {precision}: openvino runs {', '.join(MODELS)}; choose one of these")
    if precision == "bf16" and not _has_bf16(core):
        raise UserError(f"--precision bf16: {cpu_name()} has no bfloat16 arithmetic; choose fp32 or int8")


def precisions(bundle: Bundle) -> list[str]:
    """What this backend can run of a bundle on this processor."""
    bf16 = _has_bf16(_library().Core())
    held = bundle.manifest["models"]
    return [name for name, model in MODELS.items() if model in held and (name != "bf16" or bf16)]


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """Open `bundle` with this backend (see `kd_deploy.runtime.model.open_model`)."""
    return OpenVino(bundle, precision, threads)
