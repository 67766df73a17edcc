"""What the fake TensorRT's parts share: the scenario, its enums, and what was built."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


class World:
    """The scenario that is played."""

    def __init__(self) -> None:
        self.now = Scenario()
        self.enums: dict[str, Any] = {}
        self.builds: list[dict[str, Any]] = []

    def play(self, scenario: Scenario) -> None:
        self.now = scenario
        self.builds.clear()
        tables = ENUMS_11 if scenario.version.startswith("11.") else ENUMS
        self.enums.update({name: enum.IntEnum(name, members) for name, members in tables.items()})  # type: ignore[misc]


world = World()


class Strict:
    """Takes no attribute that its class does not have: a misspelt option must not pass in silence."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        object.__setattr__(self, name, value)
