"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.errors import INSTALL, MissingComponentError, UserError
from kd_deploy.runtime.model import Description, Model

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu(Model):
    """A session of the CPU provider over one ONNX file."""

    def __init__(self, bundle: Bundle, precision: str, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingComponentError(f"onnxruntime: cannot be imported ({error}); {INSTALL}") from error
        onnxruntime.set_default_logger_severity(3)  # errors only; ours are the words the user reads
        file = bundle.model_file(precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: a thread a core
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=[PROVIDER])
        except Exception as error:
            raise UserError(f"{file}: ONNX Runtime cannot load it ({_first_line(error)})") from error
        used = self._session.get_providers()
        if used[0] != PROVIDER:
            raise MissingComponentError(f"onnxruntime: {PROVIDER} was asked for, {used[0]} came")
        self.size, self.batch = bundle.size, bundle.batch
        self._precision = precision
        self._version = onnxruntime.__version__

    def describe(self) -> Description:
        return Description(
            backend="onnxruntime-cpu",
            precision=self._precision,
            device=cpu_name(),
            versions={"onnxruntime": self._version, "numpy": np.__version__},
        )

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        masks: NDArray[np.uint8] = self._session.run(["mask"], {"frame": frames})[0]
        return masks

    def _run_into(self, frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
        binding = self._session.io_binding()
        binding.bind_input("frame", "cpu", 0, np.uint8, frames.shape, frames.ctypes.data)
        binding.bind_output("mask", "cpu", 0, np.uint8, masks.shape, masks.ctypes.data)
        self._session.run_with_iobinding(binding)

    def close(self) -> None:
        del self._session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """Open `bundle` with this backend (see `kd_deploy.runtime.model.open_model`), in its form for CPUs."""
    return OnnxRuntimeCpu(bundle, bundle.for_cpu(precision), threads)
