"""cuda.bindings.runtime without a GPU: device memory is the host's, and a stream's work runs at once.

Only names, and names of parameters, of the real module. What begins with an underscore belongs to the tests.
"""

# ruff: noqa: N801, N802, N803, N815  # the names are CUDA's

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class _Stream:
    """Work runs at once, or while it is captured is kept."""

    def __init__(self) -> None:
        self.captured: list[Callable[[], None]] | None = None
        self.invalid = False
        self.launched = 0

    def __int__(self) -> int:
        return id(self)

    def put(self, work: Callable[[], None]) -> None:
        if self.captured is None:
            work()
        else:
            self.captured.append(work)


OK = cudaError_t.cudaSuccess
ORIN = SimpleNamespace(name=b"Orin", major=8, minor=7, multiProcessorCount=8, integrated=1)


def module(
    gpu: Any = ORIN, free: int = 8 << 30, limit: int | None = None, no_driver: bool = False
) -> ModuleType:
    """A fake of the module.

    Args:
        gpu: its properties; None: there is none.
        free: bytes of free memory.
        limit: bytes that can be allocated; None: any number.
        no_driver: there is no libcuda, and the bindings are 12.8, which then raise.
    """
    fake = ModuleType("cuda.bindings.runtime")
    memory: dict[int, Any] = {}
    streams: dict[int, _Stream] = {}
    other: set[int] = set()

    def cudaGetDevice() -> Any:
        if no_driver:
            raise RuntimeError("Failed to dlopen libcuda.so.1")
        return (OK, 0) if gpu else (cudaError_t.cudaErrorInsufficientDriver, None)

    def cudaGetDeviceProperties(device: int) -> Any:
        return OK, gpu

    def cudaRuntimeGetVersion() -> Any:
        return OK, 12060

    def cudaGetErrorString(error: Any) -> Any:
        return OK, error.name.removeprefix("cudaError").lower().encode()

    def cudaGetLastError() -> Any:
        return (OK,)

    def cudaMemGetInfo() -> Any:
        return OK, free, 2 * free

    def cudaMalloc(size: int) -> Any:
        if limit is not None and sum(map(ctypes.sizeof, memory.values())) + size > limit:
            return cudaError_t.cudaErrorMemoryAllocation, None
        buffer = (ctypes.c_uint8 * size)()
        memory[ctypes.addressof(buffer)] = buffer
        return OK, ctypes.addressof(buffer)

    def cudaMallocHost(size: int) -> Any:
        return cudaMalloc(size)

    def cudaFree(devPtr: int) -> Any:
        del memory[devPtr]
        return (OK,)

    def cudaFreeHost(ptr: int) -> Any:
        del memory[ptr]
        return (OK,)

    def cudaMemcpyAsync(dst: int, src: int, count: int, kind: Any, stream: Any) -> Any:
        stream.put(lambda: ctypes.memmove(dst, src, count) and None)
        return (OK,)

    def cudaStreamCreateWithFlags(flags: int) -> Any:
        stream = _Stream()
        streams[int(stream)] = stream
        return OK, stream

    def cudaStreamDestroy(stream: Any) -> Any:
        del streams[int(stream)]
        return (OK,)

    def cudaStreamSynchronize(stream: Any) -> Any:
        return (OK,)

    def cudaStreamBeginCapture(stream: Any, mode: Any) -> Any:
        stream.captured, stream.invalid = [], False
        return (OK,)

    def cudaStreamEndCapture(stream: Any) -> Any:
        work, stream.captured = stream.captured, None
        if stream.invalid:
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        other.add(id(work))
        return OK, work

    def cudaGraphInstantiate(graph: Any, flags: int) -> Any:
        executable = SimpleNamespace(work=list(graph))
        other.add(id(executable))
        return OK, executable

    def cudaGraphDestroy(graph: Any) -> Any:
        other.remove(id(graph))
        return (OK,)

    def cudaGraphExecDestroy(graphExec: Any) -> Any:
        other.remove(id(graphExec))
        return (OK,)

    def cudaGraphLaunch(graphExec: Any, stream: Any) -> Any:
        stream.launched += 1
        for work in graphExec.work:
            work()
        return (OK,)

    def cudaEventCreate() -> Any:
        event = SimpleNamespace(at=None)
        other.add(id(event))
        return OK, event

    def cudaEventDestroy(event: Any) -> Any:
        other.remove(id(event))
        return (OK,)

    def cudaEventRecord(event: Any, stream: Any) -> Any:
        event.at = fake.__dict__.setdefault("_clock", 0.0)
        fake.__dict__["_clock"] += 1.5
        return (OK,)

    def cudaEventSynchronize(event: Any) -> Any:
        return (OK,)

    def cudaEventElapsedTime(start: Any, end: Any) -> Any:
        return OK, end.at - start.at

    names = {name: value for name, value in locals().items() if name.startswith("cuda")}
    fake.__dict__.update(names, cudaStreamNonBlocking=1)
    for kind in (cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode):
        setattr(fake, kind.__name__, kind)
    fake.__dict__.update(_memory=memory, _streams=streams, _other=other)
    return fake
