"""ONNX Runtime on an NVIDIA GPU: buffers bound on the device, and a CUDA graph for every batch size.

API-checked against onnxruntime 1.31 and run over a fake; not yet run on a GPU.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.backends.sessions import check_size, library, make_session, run_errors
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.doctor.driver import driver
from kd_deploy.runtime.doctor.finding import loader_line
from kd_deploy.runtime.errors import INSTALL, MissingComponentError, UserError
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.streams import stderr_to

PROVIDER = "CUDAExecutionProvider"
_ON_THE_CPU: Final = ("cannot use the graph capture feature", "assigned to the default CPU EP")
"""What ONNX Runtime says where a node has no CUDA kernel: with CUDA graphs asked for, and without."""

Array = NDArray[np.uint8]


class OnnxRuntimeCuda(Model):
    """A session of the CUDA provider alone: no node of it falls back to the CPU unless that is said."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        """Open a precision of a bundle.

        Raises:
            UserError: ONNX Runtime does not load the file.
            MissingComponentError: this onnxruntime has no CUDA, or a library or a GPU is missing.
        """
        ort = library()
        _refuse_without_cuda(ort)
        file = bundle.model_file(precision)
        self._recorded = False
        graphs = bundle.manifest["input"].get("multiple") is None  # a CUDA graph is of one size
        self._notes = [] if graphs else ["without CUDA graphs, its size is free"]
        with heard() as said, redirect_stdout(io.StringIO()):  # where preload_dlls complains
            if hasattr(ort, "preload_dlls"):
                ort.preload_dlls()  # pip's CUDA libraries; what it does not find, the session's line names
            self._session = self._open(ort, file, graphs)
        used = self._session.get_providers()[0]
        if used != PROVIDER:
            reason = loader_line(said()) or "it does not say why"
            raise MissingComponentError(
                f"onnxruntime {ort.__version__}: {PROVIDER} was asked for, {used} came ({reason}); see kd-deploy doctor"
            )
        if self._recorded and (nodes := _cpu_nodes(self._session)):
            self._notes.append(f"{len(nodes)} nodes on the CPU ({', '.join(dict.fromkeys(nodes))})")
            print(f"onnxruntime-cuda: {file.name}: {self._notes[-1]}, and no CUDA graph", file=sys.stderr)
        self._session.disable_fallback()
        check_size(self._session, bundle)
        self.size, self.batch = bundle.size, bundle.batch
        self._ort, self._precision, self._graphs = ort, precision, graphs
        self.errors = run_errors()
        self._lanes: dict[tuple[int, ...], _Lane] = {}

    def _open(self, ort: ModuleType, file: Path, graphs: bool) -> Any:
        """A session without the CPU, or one that says which nodes must stay there."""
        provider = (PROVIDER, {"enable_cuda_graph": str(int(graphs)), "cudnn_conv_algo_search": "EXHAUSTIVE"})
        try:
            return make_session(file, _options(ort, fallback=False), [provider])
        except UserError as error:
            if not any(words in str(error.__cause__) for words in _ON_THE_CPU):
                raise
        options, self._recorded = _options(ort, fallback=True), True
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return make_session(file, options, [(PROVIDER, {"cudnn_conv_algo_search": "EXHAUSTIVE"})])

    def describe(self) -> Description:
        return Description(
            backend="onnxruntime-cuda",
            precision=self._precision,
            device=", ".join((_gpu(), *self._notes)),
            versions={"onnxruntime": self._ort.__version__, "numpy": np.__version__},
        )

    def _run(self, frames: Array) -> Array:
        masks: Array = self._lane(frames).run(frames).numpy()
        return masks

    def _lane(self, frames: Array) -> _Lane:
        """The buffers for frames of this shape; a graph replays on the addresses that it was captured with."""
        if frames.shape not in self._lanes:
            self._lanes[frames.shape] = self._make_lane(frames)
        return self._lanes[frames.shape]

    def _make_lane(self, frames: Array) -> _Lane:
        value = self._ort.OrtValue
        given = value.ortvalue_from_numpy(frames, "cuda", 0)
        taken = value.ortvalue_from_shape_and_type(frames.shape[:3], np.uint8, "cuda", 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("frame", given)
        binding.bind_ortvalue_output("mask", taken)
        options = self._ort.RunOptions()
        if self._graphs and not self._notes:
            options.add_run_config_entry("gpu_graph_id", str(len(self._lanes) + 1))
        return _Lane(given, taken, lambda: self._session.run_with_iobinding(binding, options))

    def _close(self) -> None:
        self._lanes.clear()
        del self._session


@dataclass(frozen=True)
class _Lane:
    """Frames and masks on the device, and what takes the one to the other."""

    given: Any
    taken: Any
    launch: Callable[[], None]

    def run(self, frames: Array) -> Any:
        self.given.update_inplace(frames)
        self.launch()
        return self.taken


def _refuse_without_cuda(ort: ModuleType) -> None:
    if PROVIDER not in ort.get_available_providers():
        raise MissingComponentError(
            f"onnxruntime {ort.__version__}: was built without CUDA; pip uninstall onnxruntime onnxruntime-gpu, then "
            f"{INSTALL} (a Jetson runs TensorRT: --backend tensorrt)"
        )


def _options(ort: ModuleType, *, fallback: bool) -> Any:
    options = ort.SessionOptions()
    if not fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _cpu_nodes(session: Any) -> list[str]:
    """The operators that ONNX Runtime put on the CPU."""
    return [
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == "CPUExecutionProvider"
        for node in part.get_nodes()
    ]


def _gpu() -> str:
    gpus = driver().facts.get("gpus") or ["an NVIDIA GPU"]
    return str(gpus[0])


@contextmanager
def heard() -> Iterator[Callable[[], str]]:
    """Keep file descriptor 2, where ONNX Runtime alone says which library it lacks, from the user; read it later."""
    words: list[str] = []
    with tempfile.TemporaryFile() as file:
        try:
            with stderr_to(file.fileno()):
                yield lambda: words[0]
        finally:
            file.seek(0)
            words.append(file.read().decode(errors="replace"))


def precisions(bundle: Bundle) -> list[str]:
    """What this backend can run of a bundle: what is not made for CPUs."""
    return [name for name in bundle.manifest["models"] if not name.endswith("-cpu")]


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """Open `bundle` with this backend (see `kd_deploy.runtime.model.open_model`)."""
    return OnnxRuntimeCuda(bundle, precision)
