"""Build one engine, in the process that calls (child.py has the one that should). API-checked, not run.

Nothing that TensorRT 11.0 removed is used, but for the precision flags of 10.x, and those only where strong typing
failed: NVIDIA calls strong typing complete from 10.12 on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd_deploy.runtime import cuda
from kd_deploy.runtime.engines.handles import make_builder, make_logger, make_runtime, out_of_memory
from kd_deploy.runtime.engines.inspect import Verdict, asked_precisions, engine_layers, judge
from kd_deploy.runtime.engines.key import version_tuple
from kd_deploy.runtime.engines.request import Request, configure, set_batch, weak_flags
from kd_deploy.runtime.engines.timing import attach_timing_cache, keep_timing_cache
from kd_deploy.runtime.errors import GateFailedError, UserError
from kd_deploy.runtime.nvidia import trt

if TYPE_CHECKING:
    from kd_deploy.runtime.engines.callbacks import Logger

STRONG = "strongly typed"
_STRONG_ONLY = (10, 12)

_SHARES = {False: 0.8, True: 0.5}
"""Share of the free memory that becomes workspace; an integrated GPU leaves some to the system."""


class OutOfMemoryError(UserError):
    """The build did not fit into the memory."""


@dataclass(frozen=True)
class Built:
    """How an engine was built.

    Attributes:
        typing: "strongly typed", or which flag of TensorRT 10 replaced it.
        batch: smallest, usual and largest number of frames in one run.
        dynamic: a run must give the frames' shape, for the graph leaves their number or size open.
        workspace: MiB.
        layers: what became of the layers asked for in the precision.
    """

    typing: str
    batch: tuple[int, int, int]
    dynamic: bool
    workspace: int
    layers: Verdict

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def build(
    request: Request, percent: Callable[[int], None], started: Callable[[int], None] = lambda workspace: None
) -> Built:
    """Build the engine and write it to `request.engine`.

    Args:
        percent: called with the percentage done.
        started: called with the workspace, MiB, before the memory is asked for.

    Raises:
        UserError: the graph cannot be read or built, or an option does not fit it or this machine.
        OutOfMemoryError: with less workspace or a lower level it may work.
        GateFailedError: layers got another precision than was asked for.
        MissingComponentError: TensorRT or a GPU is missing.
    """
    logger = make_logger()
    workspace = request.options.workspace or _free_workspace()
    started(workspace)
    builder = make_builder(logger)
    failed = ""
    for typing, creation, flags in _typings(request.kind):
        network = builder.create_network(creation)
        parser = _parse(network, logger, Path(request.onnx))  # which holds the weights while the build runs
        config = builder.create_builder_config()
        batch, dynamic = set_batch(builder, config, network, request)
        configure(builder, config, request, workspace)
        for flag in flags:
            config.set_flag(flag)
        plan = _build(builder, config, network, percent)
        del parser
        if plan is not None:
            break
        if out_of_memory(logger):
            raise OutOfMemoryError(f"{request.onnx}: TensorRT ran out of memory ({logger.last})")
        failed = f"{request.precision}: built {{}}, since {typing} it failed ({logger.last})"
    else:
        raise UserError(
            f"{request.onnx}: TensorRT {trt.__version__} cannot build it ({logger.last}); try another "
            "--precision or --level, or run it with --backend onnxruntime-cpu"
        )
    if failed:
        print(failed.format(typing), file=sys.stderr)
    Path(request.engine).write_bytes(plan)
    verdict = _inspect(logger, network, plan, request, batch[1])
    return Built(typing, batch, dynamic, workspace, verdict)


def _free_workspace() -> int:
    """MiB."""
    integrated = cuda.gpu().integrated
    return max(1, int(cuda.free_memory(integrated) * _SHARES[integrated]) >> 20)


def _typings(kind: str) -> Iterator[tuple[str, int, list[trt.BuilderFlag]]]:
    """The ways to fix the types, best first: label, network creation flags, builder flags."""
    yield STRONG, 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED), []
    flags = weak_flags(kind)
    if flags and version_tuple(trt.__version__) < _STRONG_ONLY:
        names = " and ".join(flag.name for flag in flags)
        yield f"weakly typed with the flag {names} of TensorRT 10, which may ignore it", 0, flags


def _parse(network: trt.INetworkDefinition, logger: Logger, onnx: Path) -> trt.OnnxParser:
    """Read the graph into `network`."""
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(onnx)):
        return parser
    if not parser.num_errors:
        raise UserError(f"{onnx}: TensorRT {trt.__version__} cannot read it ({logger.last})")
    first = parser.get_error(0)
    node = f"node {first.node_name() or first.node()} ({first.node_operator() or 'unknown operator'})"
    more = f", and {parser.num_errors - 1} more" if parser.num_errors > 1 else ""
    raise UserError(
        f"{onnx}: TensorRT {trt.__version__} cannot read {node}: {' '.join(first.desc().split())}{more}; use a newer "
        "TensorRT, export the bundle again with another --precision, or run it with --backend onnxruntime-cpu"
    )


def _build(
    builder: trt.Builder,
    config: trt.IBuilderConfig,
    network: trt.INetworkDefinition,
    percent: Callable[[int], None],
) -> bytes | None:
    """The serialized engine; None where TensorRT failed and logged why."""
    from kd_deploy.runtime.engines.callbacks import Monitor

    monitor = Monitor(percent)
    config.progress_monitor = monitor
    attach_timing_cache(config)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None
    keep_timing_cache(config)
    return bytes(plan)


def _inspect(
    logger: Logger, network: trt.INetworkDefinition, plan: bytes, request: Request, batch: int
) -> Verdict:
    """Compare the engine's precisions with the network's."""
    runtime = make_runtime(logger)
    runtime.engine_host_code_allowed = request.options.version_compatible  # this process has just made it
    engine = runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        kind = OutOfMemoryError if out_of_memory(logger) else UserError
        raise kind(f"{request.onnx}: TensorRT cannot load what it has just built ({logger.last})")
    frame = network.get_input(0).name
    layers = engine_layers(engine, context, frame, (batch, *request.size, 3))
    verdict = judge(asked_precisions(network), layers, request.kind)
    if verdict.problem:
        raise GateFailedError(
            f"{request.onnx}: {verdict.problem}; the engine is not kept, choose another --precision or --level"
        )
    return verdict
