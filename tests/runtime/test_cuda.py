"""CUDA's calls over a fake: each return code is looked at, and nothing is left behind."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from kd_deploy.runtime import cuda
from kd_deploy.runtime.errors import MissingComponentError
from tests.runtime.gpu import FakeGpu


def test_the_gpu_and_the_version(gpu: FakeGpu) -> None:
    assert cuda.gpu() == cuda.Gpu("Orin", "8.7", 8, True)
    assert cuda.version() == "12.6"


def test_no_gpu_is_a_missing_component(gpu: FakeGpu) -> None:
    gpu(cuda={"gpu": None})
    with pytest.raises(
        MissingComponentError, match=r"^GPU: CUDA: insufficientdriver \(cudaErrorInsufficientDriver\)"
    ):
        cuda.gpu()


def test_no_driver_is_a_missing_component_with_early_bindings_too(gpu: FakeGpu) -> None:
    gpu(cuda={"no_driver": True})
    with pytest.raises(
        MissingComponentError,
        match=r"^GPU: Failed to dlopen libcuda.so.1; .* a driver for CUDA 12.6, or carry",
    ):
        cuda.gpu()


def test_copies_go_there_and_back_and_everything_is_freed(gpu: FakeGpu) -> None:
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.stream())
        source, result = (stack.enter_context(cuda.pinned((2, 3, 4))) for _ in range(2))
        device = stack.enter_context(cuda.device_memory(24))
        assert len(gpu.cuda._memory) == 3
        source[:], result[:] = values, 0
        cuda.upload(device, source, stream)
        cuda.download(result[:1], device, stream)
        cuda.synchronize(stream)
        assert (result[0] == values[0]).all()
        assert not result[1].any()
    assert not gpu.cuda._memory
    assert not gpu.cuda._streams


def test_memory_that_is_not_there(gpu: FakeGpu) -> None:
    gpu(cuda={"limit": 100})
    with (
        cuda.device_memory(60),
        pytest.raises(cuda.CudaError, match=r"^CUDA: memoryallocation \(cudaErrorMemoryAllocation\)$"),
        cuda.device_memory(60),
    ):
        pass
    assert not gpu.cuda._memory


def test_a_graph_runs_when_it_is_launched(gpu: FakeGpu) -> None:
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.stream())
        source = stack.enter_context(cuda.pinned((3,)))
        result = stack.enter_context(cuda.pinned((3,)))
        device = stack.enter_context(cuda.device_memory(3))

        def work() -> None:
            cuda.upload(device, source, stream)
            cuda.download(result, device, stream)

        source[:], result[:] = 1, 0
        graph = cuda.Graph(stream, work)
        assert not result.any()
        for value in (2, 3):
            source[:] = value
            graph.launch()
            cuda.synchronize(stream)
            assert (result == value).all()
        graph.close()
    assert not gpu.cuda._other


def test_a_capture_that_fails_leaves_the_stream_usable(gpu: FakeGpu) -> None:
    with cuda.stream() as stream, cuda.pinned((3,)) as source, cuda.device_memory(3) as device:

        def invalidate() -> None:
            stream.invalid = True

        def fail() -> None:
            raise ValueError("its own")

        with pytest.raises(cuda.CudaError, match="cudaErrorStreamCaptureInvalidated"):
            cuda.Graph(stream, invalidate)
        with pytest.raises(ValueError, match="its own"):
            cuda.Graph(stream, fail)
        source[:] = 7
        cuda.upload(device, source, stream)  # at once: nothing is captured any more
        cuda.download(source, device, stream)
        assert stream.captured is None


def test_events_time_the_gpu(gpu: FakeGpu) -> None:
    with cuda.stream() as stream:
        start, end = cuda.Event(), cuda.Event()
        start.record(stream)
        end.record(stream)
        assert end.milliseconds_since(start) == 1.5
        start.close()
        end.close()
    assert not gpu.cuda._other


def test_a_clock_times_a_run_over_its_streams(gpu: FakeGpu) -> None:
    with cuda.stream() as one, cuda.stream() as two:
        clock = cuda.Clock()
        for handle in (one, two, one):
            clock.begin(handle)
            clock.end(handle)
        assert clock.milliseconds() == 4.5  # three ends after one begin, 1.5 ms apart
        clock.restart()
        clock.begin(two)
        clock.end(two)
        assert clock.milliseconds() == 1.5
        clock.close()
    assert not gpu.cuda._other


def test_memory_in_use_is_what_is_not_free(gpu: FakeGpu) -> None:
    gpu(cuda={"free": 1000})
    assert cuda.used_memory() == 1000
