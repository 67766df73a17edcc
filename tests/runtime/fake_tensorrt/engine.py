"""From an engine's file to masks, by ONNX Runtime."""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy as np

from tests.runtime.fake_tensorrt.logger import ILogger, not_null
from tests.runtime.fake_tensorrt.world import Strict, world


class IExecutionContext(Strict):
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
        if stream.captured is not None and (world.now.refuses_capture or self._changed):
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
        masks = np.ascontiguousarray((masks + 1) % 3 if world.now.wrong else masks)
        ctypes.memmove(self._addresses["mask"], masks.ctypes.data, masks.nbytes)


class EngineInspector(Strict):
    execution_context: Any = None

    def __init__(self, _engine: ICudaEngine) -> None:
        self._engine = _engine

    def get_engine_information(self, format: Any) -> str:  # noqa: A002
        assert format == world.enums["LayerInformationFormat"].JSON
        facts = self._engine._facts
        assert facts["verbosity"] == "DETAILED"
        assert self.execution_context is not None
        assert self.execution_context._shape
        new = world.now.version.startswith("11.")
        layers = [
            {
                "Name": f"{name} + relu",
                "LayerType": "CaskConvolution",
                "Inputs": [_tensor("x", world.now.engine_types or type_, new)],
                "Outputs": [_tensor("y", world.now.engine_types or type_, new)],
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


class ICudaEngine(Strict):
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
        return world.enums["DataType"][self._facts["ends"][name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._frame

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self._facts["profile"] or [self._frame] * 3]

    def create_execution_context(self) -> IExecutionContext | None:
        if world.now.no_context:
            self._logger.log(
                ILogger.Severity.ERROR, "Requested amount of GPU memory could not be allocated: out of memory"
            )
            return None
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class Runtime(Strict):
    engine_host_code_allowed: bool = False
    DLA_core: int = -1

    def __init__(self, logger: ILogger) -> None:
        not_null(logger)
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        header, _, onnx = bytes(serialized_engine).partition(b"\n")
        facts = json.loads(header)
        if "VERSION_COMPATIBLE" in facts["flags"] and not self.engine_host_code_allowed:
            self._logger.log(ILogger.Severity.ERROR, "deserializeCudaEngine: host code is not allowed")
            return None
        if facts["version"] != world.now.version and "VERSION_COMPATIBLE" not in facts["flags"]:
            self._logger.log(ILogger.Severity.ERROR, "Serialization: Version tag does not match")
            return None
        return ICudaEngine(self._logger, facts, onnx)
