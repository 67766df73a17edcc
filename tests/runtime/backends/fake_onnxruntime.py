"""An onnxruntime whose GPU is this CPU: what the CUDA backend calls, under the real names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real
from numpy.typing import NDArray

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
LOADER = "libcublasLt.so.13: cannot open shared object file: No such file or directory"

Array = NDArray[np.uint8]


class OrtValue:
    """Memory of the device; who writes or reads it must say so."""

    def __init__(self, array: Array) -> None:
        self.array = array

    @staticmethod
    def ortvalue_from_numpy(array: Array, device: str = "cpu", device_id: int = 0) -> OrtValue:
        assert (device, device_id) == ("cuda", 0)
        return OrtValue(array.copy())

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: tuple[int, ...], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        assert (device_type, device_id) == ("cuda", 0)
        return OrtValue(np.full(shape, 255, element_type))

    def update_inplace(self, array: Array) -> None:
        assert array.shape == self.array.shape
        self.array[...] = array

    def numpy(self) -> Array:
        return self.array.copy()


@dataclass
class Binding:
    bound: dict[str, OrtValue] = field(default_factory=dict)

    def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
        self.bound[name] = value

    def bind_ortvalue_output(self, name: str, value: OrtValue) -> None:
        self.bound[name] = value


class RunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class SessionOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class InferenceSession:
    """The real session on the CPU behind the name of the GPU's provider.

    A CUDA graph's memory is as real: of a graph's first run the addresses are kept, and asked for at the next.
    """

    def __init__(self, file: str, options: SessionOptions, providers: list[Any], gpu: FakeGpu) -> None:
        ((name, self.provider_options),) = providers
        assert name == CUDA
        if gpu.needs_cpu and options.entries.get("session.disable_cpu_ep_fallback") == "1":
            raise RuntimeError(
                "This session contains graph nodes that are assigned to the default CPU EP, but ..."
            )
        if gpu.lacks:
            os.write(2, f"[E:onnxruntime] Failed to load library with error: {LOADER}\n".encode())
        self.gpu, self.options = gpu, options
        self.fallback = True
        self.graphs: dict[str, tuple[int, ...]] = {}
        self._real = real.InferenceSession(file, providers=[CPU])
        gpu.sessions.append(self)

    def get_providers(self) -> list[str]:
        return [CPU] if self.gpu.lacks else [CUDA, CPU]

    def get_inputs(self) -> list[Any]:
        inputs: list[Any] = self._real.get_inputs()
        return inputs

    def disable_fallback(self) -> None:
        self.fallback = False

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: RunOptions) -> None:
        frame, mask = binding.bound["frame"], binding.bound["mask"]
        if graph := options.entries.get("gpu_graph_id"):
            addresses = frame.array.ctypes.data, mask.array.ctypes.data, *frame.array.shape
            assert self.graphs.setdefault(graph, addresses) == addresses
        mask.array[...] = self._real.run(["mask"], {"frame": frame.array})[0]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        assert self.options.entries["session.record_ep_graph_assignment_info"] == "1"
        shape = SimpleNamespace(op_type="Shape")
        return [
            SimpleNamespace(ep_name=CUDA, get_nodes=lambda: [SimpleNamespace(op_type="Conv")]),
            SimpleNamespace(ep_name=CPU, get_nodes=lambda: [shape, shape]),
        ]


@dataclass
class FakeGpu:
    """What is wrong with the machine, and the sessions that were made."""

    built_with_cuda: bool = True
    lacks: bool = False
    needs_cpu: bool = False
    sessions: list[InferenceSession] = field(default_factory=list)

    def module(self) -> Any:
        """What stands for `import onnxruntime`."""

        def make(file: str, options: SessionOptions, providers: list[Any]) -> InferenceSession:
            return InferenceSession(file, options, providers, self)

        quiet: Callable[[int], None] = lambda severity: None  # noqa: E731
        return SimpleNamespace(
            __version__="1.31.1",
            OrtValue=OrtValue,
            RunOptions=RunOptions,
            SessionOptions=SessionOptions,
            InferenceSession=make,
            get_available_providers=lambda: [CUDA, CPU] if self.built_with_cuda else [CPU],
            preload_dlls=lambda: None,
            set_default_logger_severity=quiet,
        )
