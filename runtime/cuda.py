"""The little of CUDA that the TensorRT runner needs, over cuda-bindings 12 or 13.

API-checked against the real bindings of both; run over a fake, not yet on a GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.nvidia import cudart

_MEMORY = Path("/proc/meminfo")


class CudaError(RuntimeError):
    """A CUDA call failed; the message is CUDA's text and the error's name there."""


@dataclass(frozen=True)
class Gpu:
    """The GPU in use.

    Attributes:
        name: as the driver gives it; every Orin is called "Orin".
        capability: compute capability, such as "8.7".
        multiprocessors: what tells an Orin Nano from an AGX Orin.
        integrated: it shares the processor's memory, as on a Jetson.
    """

    name: str
    capability: str
    multiprocessors: int
    integrated: bool


def _check(status: cudart.cudaError_t) -> None:
    """Raise CudaError unless a call went well."""
    if status != cudart.cudaError_t.cudaSuccess:
        cudart.cudaGetLastError()  # else a later call, TensorRT's too, reports it again
        text = cudart.cudaGetErrorString(status)[1].decode()
        raise CudaError(f"CUDA: {text} ({status.name})")


def gpu() -> Gpu:
    """The GPU in use.

    Raises:
        MissingComponentError: there is none, or cuda-bindings or the driver is absent or too old.
    """
    try:
        status, device = cudart.cudaGetDevice()
        _check(status)
        status, properties = cudart.cudaGetDeviceProperties(device)
        _check(status)
    except RuntimeError as error:  # CudaError, or cuda-bindings 12 that finds no libcuda
        raise MissingComponentError(
            f"GPU: {error}; use a machine with an NVIDIA GPU and a driver for CUDA {version()}, or carry the "
            "bundle there and run kd-deploy build BUNDLE"
        ) from error
    return Gpu(
        name=properties.name.decode(),
        capability=f"{properties.major}.{properties.minor}",
        multiprocessors=properties.multiProcessorCount,
        integrated=bool(properties.integrated),
    )


def version() -> str:
    """The CUDA runtime's version, such as "12.6"."""
    status, number = cudart.cudaRuntimeGetVersion()
    _check(status)
    return f"{number // 1000}.{number % 1000 // 10}"


def free_memory(integrated: bool) -> int:
    """Bytes that the GPU can still allocate.

    An integrated GPU can have whatever the system can free, which CUDA does not count.
    """
    if integrated:
        with suppress(OSError):
            for line in _MEMORY.read_text(encoding="ascii").splitlines():
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    status, free, _ = cudart.cudaMemGetInfo()
    _check(status)
    return int(free)


def used_memory() -> int:
    """Bytes of the GPU's memory in use, by all processes; an integrated GPU's memory is the system's."""
    status, free, total = cudart.cudaMemGetInfo()
    _check(status)
    return int(total) - int(free)


@contextmanager
def stream() -> Iterator[cudart.cudaStream_t]:
    """A stream that does not wait for the default one; `int()` of it is the handle that TensorRT takes."""
    status, handle = cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)
    _check(status)
    try:
        yield handle
    finally:
        cudart.cudaStreamDestroy(handle)


def synchronize(handle: cudart.cudaStream_t) -> None:
    """Wait until a stream is idle."""
    (status,) = cudart.cudaStreamSynchronize(handle)
    _check(status)


@contextmanager
def device_memory(nbytes: int) -> Iterator[int]:
    """The address of `nbytes` on the device."""
    status, address = cudart.cudaMalloc(nbytes)
    _check(status)
    try:
        yield int(address)
    finally:
        cudart.cudaFree(address)


@contextmanager
def pinned(shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """A uint8 array in page-locked memory, which copies without a detour; dead after the context."""
    nbytes = int(np.prod(shape))
    status, address = cudart.cudaMallocHost(nbytes)
    _check(status)
    try:
        yield np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(int(address))).reshape(shape)
    finally:
        cudart.cudaFreeHost(address)


def upload(destination: int, source: NDArray[np.uint8], handle: cudart.cudaStream_t) -> None:
    """Copy a pinned, contiguous array to device memory, in the order of a stream."""
    kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    (status,) = cudart.cudaMemcpyAsync(destination, source.ctypes.data, source.nbytes, kind, handle)
    _check(status)


def download(destination: NDArray[np.uint8], source: int, handle: cudart.cudaStream_t) -> None:
    """Copy device memory to a pinned, contiguous array, in the order of a stream."""
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    (status,) = cudart.cudaMemcpyAsync(destination.ctypes.data, source, destination.nbytes, kind, handle)
    _check(status)


class Graph:
    """Work of one stream, captured once and launched as a whole."""

    def __init__(self, handle: cudart.cudaStream_t, work: Callable[[], None]) -> None:
        """Capture what `work` puts on the stream; nothing of it runs yet.

        Raises:
            CudaError: something in `work` cannot be captured; the stream is as before. What `work` itself raises
                passes through.
        """
        self._stream = handle
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        (status,) = cudart.cudaStreamBeginCapture(handle, mode)
        _check(status)
        try:
            try:
                work()
            finally:  # also where it failed: the stream must leave its capture
                status, graph = cudart.cudaStreamEndCapture(handle)
            _check(status)
            status, self._executable = cudart.cudaGraphInstantiate(graph, 0)
            cudart.cudaGraphDestroy(graph)
            _check(status)
        except BaseException:
            cudart.cudaGetLastError()  # as in `_check`
            raise

    def launch(self) -> None:
        """Put the captured work on its stream."""
        (status,) = cudart.cudaGraphLaunch(self._executable, self._stream)
        _check(status)

    def close(self) -> None:
        """Free the graph; its stream must be idle."""
        cudart.cudaGraphExecDestroy(self._executable)


class Event:
    """A point in a stream's work, timed by the GPU."""

    def __init__(self) -> None:
        status, self._handle = cudart.cudaEventCreate()
        _check(status)

    def record(self, handle: cudart.cudaStream_t) -> None:
        """Mark the work that the stream has so far."""
        (status,) = cudart.cudaEventRecord(self._handle, handle)
        _check(status)

    def milliseconds_since(self, start: Event) -> float:
        """Time between two recorded events; waits for this one."""
        (status,) = cudart.cudaEventSynchronize(self._handle)
        _check(status)
        status, milliseconds = cudart.cudaEventElapsedTime(start._handle, self._handle)
        _check(status)
        return float(milliseconds)

    def close(self) -> None:
        cudart.cudaEventDestroy(self._handle)


class Clock:
    """How long the work of one run took on the GPU, whatever streams it is on."""

    def __init__(self) -> None:
        self._start = Event()
        self._ends: dict[int, Event] = {}  # by stream
        self._used: set[int] = set()

    def restart(self) -> None:
        """A new run begins with the next `begin`."""
        self._used.clear()

    def begin(self, handle: cudart.cudaStream_t) -> None:
        """Work will be put on a stream; the first one's begin is the run's."""
        if not self._used:
            self._start.record(handle)
        self._used.add(int(handle))

    def end(self, handle: cudart.cudaStream_t) -> None:
        """Work was put there."""
        if int(handle) not in self._ends:
            self._ends[int(handle)] = Event()
        self._ends[int(handle)].record(handle)

    def milliseconds(self) -> float:
        """From the run's begin to the end of its last work; waits for it."""
        return max(self._ends[handle].milliseconds_since(self._start) for handle in self._used)

    def close(self) -> None:
        for event in (self._start, *self._ends.values()):
            event.close()
