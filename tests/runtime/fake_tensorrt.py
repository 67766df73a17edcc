"""`tensorrt` without a GPU: ONNX Runtime is its engine, and a `Scenario` says what goes wrong.

Only classes, methods, parameters and enum members of the real module, of the version asked for; tests/conformance
compares them. What begins with an underscore belongs to the tests.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

CLASSES = (
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
"""The classes of `module`, for the comparison with the real ones."""

ENUMS: dict[str, dict[str, int]] = {
    "BuilderFlag": {"FP16": 0, "INT8": 1, "GPU_FALLBACK": 3, "TF32": 6, "VERSION_COMPATIBLE": 13, "BF16": 17},
    "DataType": {"FLOAT": 0, "HALF": 1, "INT8": 2, "UINT8": 5, "BF16": 7},
    "DeviceType": {"GPU": 0, "DLA": 1},
    "HardwareCompatibilityLevel": {"NONE": 0, "AMPERE_PLUS": 1},
    "LayerInformationFormat": {"ONELINE": 0, "JSON": 1},
    "LayerType": {"CONVOLUTION": 0, "DECONVOLUTION": 7, "MATRIX_MULTIPLY": 17, "DEQUANTIZE": 33},
    "MemoryPoolType": {"WORKSPACE": 0},
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
    "ProfilingVerbosity": {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2},
}
"""Of TensorRT 10.3; the numbers are the real ones."""

ENUMS_11 = {
    **ENUMS,
    "BuilderFlag": {"GPU_FALLBACK": 3, "TF32": 6, "VERSION_COMPATIBLE": 12},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED": 0, "PREFER_JIT_PYTHON_PLUGINS": 1},
}


@dataclass
class Scenario:
    """What happens; JSON can carry it to a child process.

    Attributes:
        version: of TensorRT.
        null: Builder and Runtime are null, as without a GPU.
        parse_errors: (node, operator, description) of what the parser refuses.
        memory: MiB of workspace above which a build fails for want of memory.
        killed_above: MiB of workspace above which the system kills the process.
        crash: the build aborts.
        strong_fails: a strongly typed network cannot be built.
        fails: no network can be built.
        engine_types: what the inspector says of all layers instead of the truth.
        wrong: the masks are wrong.
        refuses_capture: a CUDA graph cannot be captured.
        dla: number of accelerators.
        no_context: there is no memory for an engine's execution context.
    """

    version: str = "10.3.0"
    null: bool = False
    parse_errors: Sequence[Sequence[str]] = ()
    memory: int | None = None
    killed_above: int | None = None
    crash: bool = False
    strong_fails: bool = False
    fails: bool = False
    engine_types: str | None = None
    wrong: bool = False
    refuses_capture: bool = False
    dla: int = 0
    no_context: bool = False


_now = Scenario()
_enums: dict[str, Any] = {}
_builds: list[dict[str, Any]] = []


def module(**scenario: Any) -> ModuleType:
    """The fake module in a scenario; the one before it is then of no use."""
    global _now
    _now = Scenario(**scenario)
    _builds.clear()
    tables = ENUMS_11 if _now.version.startswith("11.") else ENUMS
    _enums.update({name: enum.IntEnum(name, members) for name, members in tables.items()})  # type: ignore[misc]
    fake = ModuleType("tensorrt")
    fake.__dict__.update({name: globals()[name] for name in CLASSES}, **_enums, __version__=_now.version)
    fake.__dict__["_builds"] = _builds
    return fake


class _Strict:
    """Takes no attribute that its class does not have: a misspelt option must not pass in silence."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None: ...

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def __init__(self) -> None: ...

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError


def _not_null(logger: ILogger) -> None:
    assert isinstance(logger, ILogger)
    if _now.null:
        logger.log(
            ILogger.Severity.ERROR, "createInferBuilder: Error Code 6: CUDA initialization failure: 35"
        )
        raise TypeError("pybind11::init(): factory function returned nullptr")


class ITensor(_Strict):
    name: str = ""
    shape: Any = ()
    dtype: Any = None

    def __init__(self, _name: str, _dtype: Any, _shape: Any = ()) -> None:
        self.name, self.dtype, self.shape = _name, _dtype, _shape


class ILayer(_Strict):
    name: str = ""
    type: Any = None

    def __init__(self, _name: str, _type: Any, _inputs: list[ITensor], _outputs: list[ITensor]) -> None:
        self.name, self.type, self._inputs, self._outputs = _name, _type, _inputs, _outputs

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class INetworkDefinition(_Strict):
    def __init__(self, _flags: int) -> None:
        self._flags = _flags
        self._model: Any = None
        self._layers: list[ILayer] = []

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    def get_input(self, index: int) -> ITensor:
        value = self._model.graph.input[index]
        dims = value.type.tensor_type.shape.dim
        return ITensor(value.name, _enums["DataType"].UINT8, tuple(d.dim_value or -1 for d in dims))


class ParserError:
    def __init__(self, _name: str, _operator: str, _desc: str) -> None:
        self._said = _name, _operator, _desc

    def node_name(self) -> str:
        return self._said[0]

    def node_operator(self) -> str:
        return self._said[1]

    def desc(self) -> str:
        return self._said[2]

    def node(self) -> int:
        return 7


class OnnxParser(_Strict):
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, logger
        self._errors = [ParserError(*error) for error in _now.parse_errors]

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        import onnx

        try:
            self._network._model = parsed = onnx.load(model)
        except Exception:
            self._logger.log(ILogger.Severity.ERROR, "ModelImporter: failed to parse\nthe file")
            return False
        types = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF"}
        weights = {tensor.name: types.get(tensor.data_type) for tensor in parsed.graph.initializer}
        for node in parsed.graph.node:
            if node.op_type == "Conv":
                data = ITensor(node.input[0], _enums["DataType"][weights[node.input[1]]])
                output = ITensor(node.output[0], data.dtype)
                self._network._layers.append(
                    ILayer(node.name, _enums["LayerType"].CONVOLUTION, [data], [output])
                )
        return not self._errors


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]


class ITimingCache:
    def __init__(self, _content: bytes) -> None:
        self._content = _content

    def serialize(self) -> bytes:
        return self._content + b"+1"


class IBuilderConfig(_Strict):
    progress_monitor: Any = None
    profiling_verbosity: Any = None
    builder_optimization_level: int = 3
    hardware_compatibility_level: Any = None
    default_device_type: Any = None
    DLA_core: int = -1

    def __init__(self) -> None:
        self._flags = {"TF32"}
        self._workspace = 0
        self._profile: IOptimizationProfile | None = None
        self._cache: ITimingCache | None = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        assert pool == _enums["MemoryPoolType"].WORKSPACE
        self._workspace = pool_size >> 20

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profile = profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        return (
            None if serialized_timing_cache.startswith(b"damaged") else ITimingCache(serialized_timing_cache)
        )

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder(_Strict):
    def __init__(self, logger: ILogger) -> None:
        _not_null(logger)
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return _now.dla

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> memoryview | None:
        strong = bool(network._flags & 1 << _enums["NetworkDefinitionCreationFlag"].STRONGLY_TYPED)
        facts = {
            "version": _now.version,
            "strong": strong,
            "flags": sorted(config._flags),
            "workspace": config._workspace,
            "level": config.builder_optimization_level,
            "verbosity": config.profiling_verbosity.name,
            "hardware": getattr(config.hardware_compatibility_level, "name", "NONE"),
            "dla": config.DLA_core,
            "cache": config._cache._content.decode() if config._cache else None,
            "profile": config._profile and config._profile._shapes["frame"],
            "layers": {layer.name: layer.get_input(0).dtype.name for layer in network._layers},
            "ends": {x.name: "UINT8" for x in (*network._model.graph.input, *network._model.graph.output)},
        }
        _builds.append(facts)
        monitor = config.progress_monitor
        monitor.phase_start("Building Engine", None, 2)
        if reason := self._failure(config, strong):
            self._logger.log(ILogger.Severity.ERROR, reason)
            return None
        monitor.phase_start("Tactics", "Building Engine", 4)
        going = [monitor.step_complete("Tactics", step) for step in range(4)]
        monitor.phase_finish("Tactics")
        going += [monitor.step_complete("Building Engine", step) for step in range(2)]
        monitor.phase_finish("Building Engine")
        self._logger.log(ILogger.Severity.INFO, "Engine generation completed")
        onnx: bytes = network._model.SerializeToString()
        return memoryview(json.dumps(facts).encode() + b"\n" + onnx) if all(going) else None

    def _failure(self, config: IBuilderConfig, strong: bool) -> str | None:
        if _now.crash:
            os.abort()
        if _now.killed_above is not None and config._workspace > _now.killed_above:
            os.kill(os.getpid(), signal.SIGKILL)
        if _now.memory is not None and config._workspace > _now.memory:
            return "[resizingAllocator.cpp::allocate::74] Error Code 1: Cuda Runtime (out of memory)"
        if _now.fails or (_now.strong_fails and strong):
            return "Error Code 10: Could not find any implementation for node conv_1"
        return None


class IExecutionContext(_Strict):
    nvtx_verbosity: Any = None

    def __init__(self, _engine: ICudaEngine) -> None:
        self._engine = _engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._changed = True  # a capture needs a run since the last change

    def set_input_shape(self, name: str, shape: Any) -> bool:
        lowest, _, highest = self._engine.get_tensor_profile_shape(name, 0)
        if not all(a <= b <= c for a, b, c in zip(lowest, shape, highest, strict=True)):
            self._engine._logger.log(ILogger.Severity.ERROR, "setInputShape: out of the profile")
            return False
        self._shape, self._changed = tuple(shape), True
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = sys.modules["cuda.bindings.runtime"]._streams[stream_handle]
        if stream.captured is not None and (_now.refuses_capture or self._changed):
            self._engine._logger.log(
                ILogger.Severity.ERROR, "enqueueV3: operation not permitted when capturing"
            )
            stream.invalid = True
            return False
        self._changed = False
        stream.put(self._compute)
        return True

    def _compute(self) -> None:
        count = int(np.prod(self._shape))
        frames = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(self._addresses["frame"]))
        masks = self._engine._session.run(["mask"], {"frame": frames.reshape(self._shape)})[0]
        masks = np.ascontiguousarray((masks + 1) % 3 if _now.wrong else masks)
        ctypes.memmove(self._addresses["mask"], masks.ctypes.data, masks.nbytes)


class EngineInspector(_Strict):
    execution_context: Any = None

    def __init__(self, _engine: ICudaEngine) -> None:
        self._engine = _engine

    def get_engine_information(self, format: Any) -> str:  # noqa: A002
        assert format == _enums["LayerInformationFormat"].JSON
        facts = self._engine._facts
        assert facts["verbosity"] == "DETAILED"
        assert self.execution_context is not None
        assert self.execution_context._shape
        new = _now.version.startswith("11.")
        layers = [
            {
                "Name": f"{name} + relu",
                "LayerType": "CaskConvolution",
                "Inputs": [_tensor("x", _now.engine_types or type_, new)],
                "Outputs": [_tensor("y", _now.engine_types or type_, new)],
                "Metadata": f"[ONNX Layer: {name}]\x1e[ONNX Layer: relu]",
            }
            for name, type_ in facts["layers"].items()
        ]
        ends = [_tensor(name, "UINT8", new) for name in facts["ends"]]
        return json.dumps(
            {"Layers": layers, **({"I/O Tensors": ends} if new else {"Bindings": list(facts["ends"])})}
        )


def _tensor(name: str, type_: str, new: bool) -> dict[str, Any]:
    if new:
        return {"Name": name, "Format": "LINEAR", "Datatype": type_}
    words = {"FLOAT": "Row major linear FP32", "HALF": "Channel major FP16 format where channel % 8 == 0"}
    return {"Name": name, "Format/Datatype": words.get(type_, type_)}


class ICudaEngine(_Strict):
    def __init__(self, _logger: ILogger, _facts: dict[str, Any], _onnx: bytes) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self._logger, self._facts = _logger, _facts
        self._session = onnxruntime.InferenceSession(_onnx, providers=["CPUExecutionProvider"])
        self._frame = tuple(d if isinstance(d, int) else -1 for d in self._session.get_inputs()[0].shape)

    @property
    def num_io_tensors(self) -> int:
        return len(self._facts["ends"])

    def get_tensor_name(self, index: int) -> str:
        return list(self._facts["ends"])[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return _enums["DataType"][self._facts["ends"][name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._frame

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._facts["profile"] or [self._frame] * 3]

    def create_execution_context(self) -> IExecutionContext | None:
        if _now.no_context:
            self._logger.log(
                ILogger.Severity.ERROR, "Requested amount of GPU memory could not be allocated: out of memory"
            )
            return None
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class Runtime(_Strict):
    engine_host_code_allowed: bool = False
    DLA_core: int = -1

    def __init__(self, logger: ILogger) -> None:
        _not_null(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        header, _, onnx = bytes(serialized_engine).partition(b"\n")
        facts = json.loads(header)
        if "VERSION_COMPATIBLE" in facts["flags"] and not self.engine_host_code_allowed:
            self._logger.log(ILogger.Severity.ERROR, "deserializeCudaEngine: host code is not allowed")
            return None
        if facts["version"] != _now.version and "VERSION_COMPATIBLE" not in facts["flags"]:
            self._logger.log(ILogger.Severity.ERROR, "Serialization: Version tag does not match")
            return None
        return ICudaEngine(self._logger, facts, onnx)
