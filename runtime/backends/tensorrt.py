"""TensorRT: an engine that was built for this machine, on a stream of its own, as one CUDA graph where it can.

API-checked against the real bindings of TensorRT 10.3, 10.16 and 11.4 and run over a fake; not yet run on a GPU.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime import cuda
from kd_deploy.runtime.bundle import Bundle, made_for_cpu
from kd_deploy.runtime.engines.handles import key_here, make_logger, make_runtime
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.store import EngineFile, find_runnable, others
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.nvidia import trt

if TYPE_CHECKING:
    from kd_deploy.runtime.engines.callbacks import Logger

FRAME, MASK = "frame", "mask"

Array = NDArray[np.uint8]


class RefusedError(RuntimeError):
    """TensorRT did not do what it was told; the message is its own."""


class TensorRt(Model):
    """An engine and the lanes that run it; a batch larger than the engine's is run in parts."""

    def __init__(self, bundle: Bundle, engine: EngineFile) -> None:
        """Load an engine, which `find_runnable` found or `build_engine` has just built.

        Raises:
            UserError: TensorRT does not load it, its ends are not uint8, or the memory does not suffice.
            MissingComponentError: TensorRT or a GPU is missing.
        """
        self._logger = make_logger()
        self._gpu, self._cuda_version = cuda.gpu(), cuda.version()
        self._runtime = make_runtime(self._logger)
        # Such an engine brings code along; its key and sha256 say that it is the one that was built.
        self._runtime.engine_host_code_allowed = engine.key.options.version_compatible
        if engine.key.options.dla is not None:
            self._runtime.DLA_core = engine.key.options.dla
        self._engine = self._runtime.deserialize_cuda_engine(engine.path.read_bytes())
        if self._engine is None:
            raise self._unusable(engine, self._logger.last)
        self.size = bundle.size
        self._precision = engine.key.precision
        self._batch = self._check_ends(engine)
        self._clock: cuda.Clock | None = None
        self._lanes: list[_Lane] = []
        self._most_lanes = 2  # one computes while the next is copied
        try:
            self._add_lane()
        except (cuda.CudaError, RefusedError) as error:
            raise self._unusable(engine, str(error)) from error

    def _unusable(self, engine: EngineFile, reason: str) -> UserError:
        return UserError(
            f"{engine.path}: TensorRT {trt.__version__} cannot run it ({reason}); close programs that use the "
            "GPU, or build it again with kd-deploy build BUNDLE --force"
        )

    def _check_ends(self, engine: EngineFile) -> tuple[int, int]:
        """The smallest and the largest batch of an engine that takes frames and gives masks."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        types = {name: self._engine.get_tensor_dtype(name).name for name in names}
        if types != {FRAME: "UINT8", MASK: "UINT8"}:
            raise self._unusable(engine, f"its tensors are {types}, not uint8 {FRAME} and {MASK}")
        batch = self._engine.get_tensor_shape(FRAME)[0]
        if batch != -1:
            return batch, batch
        smallest, _, largest = self._engine.get_tensor_profile_shape(FRAME, 0)
        return smallest[0], largest[0]

    def _add_lane(self) -> None:
        context = self._engine.create_execution_context()
        if context is None:
            raise RefusedError(self._logger.last)
        # The detail that the inspector needed would cost time in every run.
        context.nvtx_verbosity = trt.ProfilingVerbosity.NONE
        assert self.size is not None
        self._lanes.append(_Lane(context, self._logger, self._batch, self.size))

    def describe(self) -> Description:
        refused = any(lane.graph_refused for lane in self._lanes)
        return Description(
            backend="tensorrt",
            precision=self._precision,
            device=self._gpu.name + (", without a CUDA graph" if refused else ""),
            versions={
                "tensorrt": trt.__version__,
                "cuda": self._cuda_version,
                "numpy": np.__version__,
            },
        )

    def _run(self, frames: Array) -> Array:
        masks = np.empty(frames.shape[:3], np.uint8)
        self._run_into(frames, masks)
        return masks

    def _run_into(self, frames: Array, masks: Array) -> None:
        part = self._batch[1]
        if len(frames) > part and len(self._lanes) < self._most_lanes:
            try:
                self._add_lane()
            except (cuda.CudaError, RefusedError):  # no memory for it; one lane does the same, later
                self._most_lanes = len(self._lanes)
        clock = self._restarted_clock()
        under_way: list[slice | None] = [None] * len(self._lanes)
        for number, first in enumerate(range(0, len(frames), part)):
            index = number % len(self._lanes)
            lane, before, now = self._lanes[index], under_way[index], slice(first, first + part)
            if before is not None:
                lane.collect(masks[before])
            lane.submit(frames[now], clock)
            under_way[index] = now
        for lane, rest in zip(self._lanes, under_way, strict=True):
            if rest is not None:
                lane.collect(masks[rest])
        self.device_ms = clock.milliseconds() if clock else None

    def _restarted_clock(self) -> cuda.Clock | None:
        """The GPU's clock for one run, if it was asked for."""
        if not self.timed:
            return None
        if self._clock is None:
            self._clock = cuda.Clock()
        self._clock.restart()
        return self._clock

    def _close(self) -> None:
        for lane in self._lanes:
            lane.close()
        if self._clock is not None:
            self._clock.close()
        self._lanes.clear()
        del self._engine, self._runtime


class _Lane:
    """A stream with an execution context, pinned buffers and, from the second run of a batch size on, a graph."""

    def __init__(
        self, context: trt.IExecutionContext, logger: Logger, batch: tuple[int, int], size: tuple[int, int]
    ) -> None:
        self.graph_refused: str | None = None
        self._context, self._logger = context, logger
        self._smallest, largest = batch
        self._set = self._warm = 0  # batch sizes: of the context, and of the run before
        self._graph: cuda.Graph | None = None
        with ExitStack() as stack:
            self._stream = stack.enter_context(cuda.stream())
            self._frames = stack.enter_context(cuda.pinned((largest, *size, 3)))
            self._masks = stack.enter_context(cuda.pinned((largest, *size)))
            self._device_frames = stack.enter_context(cuda.device_memory(self._frames.nbytes))
            self._device_masks = stack.enter_context(cuda.device_memory(self._masks.nbytes))
            self._tell(context.set_tensor_address(FRAME, self._device_frames))
            self._tell(context.set_tensor_address(MASK, self._device_masks))
            self._owned = stack.pop_all()

    def submit(self, frames: Array, clock: cuda.Clock | None) -> None:
        """Put a part of a batch on the stream; `collect` waits for it. `clock` times the copies and the network."""
        self._frames[: len(frames)] = frames
        batch = max(len(frames), self._smallest)  # a batch that is too small is filled with what lies there
        if batch != self._set:
            self._set_batch(batch)
        if self._graph is None and self._warm == batch and not self.graph_refused:
            self._capture()
        if clock:
            clock.begin(self._stream)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        if clock:
            clock.end(self._stream)
        self._warm = batch

    def collect(self, masks: Array) -> None:
        """Wait for what was submitted and copy its masks."""
        cuda.synchronize(self._stream)
        masks[:] = self._masks[: len(masks)]

    def _set_batch(self, batch: int) -> None:
        """Another batch size needs another graph, captured after a run without one."""
        self._drop_graph()
        self._tell(self._context.set_input_shape(FRAME, (batch, *self._frames.shape[1:])))
        self._set, self._warm = batch, 0

    def _enqueue(self) -> None:
        cuda.upload(self._device_frames, self._frames[: self._set], self._stream)
        self._tell(self._context.execute_async_v3(int(self._stream)))
        cuda.download(self._masks[: self._set], self._device_masks, self._stream)

    def _capture(self) -> None:
        """Capture a run as a graph; where that is refused, say so once and go on without."""
        try:
            self._graph = cuda.Graph(self._stream, self._enqueue)
        except (cuda.CudaError, RefusedError) as error:
            self.graph_refused = str(error)
            print(f"tensorrt: without a CUDA graph, its capture was refused ({error})", file=sys.stderr)

    def _tell(self, accepted: bool) -> None:
        """TensorRT says False and logs why."""
        if not accepted:
            raise RefusedError(self._logger.last)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def close(self) -> None:
        with suppress(cuda.CudaError):  # what failed while it ran was said then
            cuda.synchronize(self._stream)
        self._drop_graph()
        del self._context  # before the memory that it was told of
        self._owned.close()


def precisions(bundle: Bundle) -> list[str]:
    """What this backend can run of a bundle, once there is an engine of it: what is not made for CPUs."""
    return [name for name in bundle.manifest["models"] if not made_for_cpu(name)]


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """Open `bundle` with this backend (see `kd_deploy.runtime.model.open_model`).

    Raises:
        UserError: the bundle has no engine for this TensorRT, this GPU and this platform.
    """
    here = key_here(bundle, precision, BuildOptions())
    engine = find_runnable(bundle, here)
    if engine is None:
        there = "; ".join(others(bundle, precision)) or "none"
        raise UserError(
            f"{bundle.path}: holds no intact {precision} engine for {here.place} (it has: {there}); make one with "
            f"kd-deploy build {shlex.quote(str(bundle.path))} --precision {precision}"
        )
    return TensorRt(bundle, engine)
