"""ONNX Runtime on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.backends.sessions import check_size, library, make_session, run_errors
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.model import Description, Model

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeCpu(Model):
    """A session of the CPU provider over one ONNX file."""

    def __init__(self, bundle: Bundle, precision: str, threads: int | None = None) -> None:
        ort = library()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: a thread a core
        options.log_severity_level = 4  # what a run fails of is said once, by us
        # Threads that spin while they wait gain nothing here, and take the cores from decoding and encoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = make_session(bundle.model_file(precision), options, [PROVIDER])
        used = self._session.get_providers()
        if used[0] != PROVIDER:
            raise MissingComponentError(f"onnxruntime: {PROVIDER} was asked for, {used[0]} came")
        check_size(self._session, bundle)
        self.size, self.batch = bundle.size, bundle.batch
        self.errors = run_errors()
        self._precision = precision
        self._version = ort.__version__

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

    def _close(self) -> None:
        del self._session


def precisions(bundle: Bundle) -> list[str]:
    """What this backend can run of a bundle: all but bf16, for which it has no convolutions."""
    return [name for name in bundle.manifest["models"] if name not in ("bf16", "fp32-cpu")]


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """Open `bundle` with this backend (see `kd_deploy.runtime.model.open_model`), in its form for CPUs."""
    return OnnxRuntimeCpu(bundle, bundle.for_cpu(precision), threads)
