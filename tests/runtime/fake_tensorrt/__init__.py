"""`tensorrt` without a GPU: ONNX Runtime is its engine, and a `Scenario` says what goes wrong.

Only classes, methods, parameters and enum members of the real module, of the version asked for; tests/conformance
compares them. What begins with an underscore belongs to the tests.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.runtime.fake_tensorrt.builder import Builder, IBuilderConfig, IOptimizationProfile, ITimingCache
from tests.runtime.fake_tensorrt.engine import EngineInspector, ICudaEngine, IExecutionContext, Runtime
from tests.runtime.fake_tensorrt.logger import ILogger, IProgressMonitor
from tests.runtime.fake_tensorrt.network import ILayer, INetworkDefinition, ITensor, OnnxParser, ParserError
from tests.runtime.fake_tensorrt.world import Scenario, world

CLASSES = (
    Builder,
    EngineInspector,
    IBuilderConfig,
    ICudaEngine,
    IExecutionContext,
    ILayer,
    ILogger,
    INetworkDefinition,
    IOptimizationProfile,
    IProgressMonitor,
    ITensor,
    ITimingCache,
    OnnxParser,
    ParserError,
    Runtime,
)
"""The classes of `module`, for the comparison with the real ones."""


def module(**scenario: Any) -> ModuleType:
    """The fake module in a scenario; the one before it is then of no use."""
    world.play(Scenario(**scenario))
    fake = ModuleType("tensorrt")
    fake.__dict__.update({one.__name__: one for one in CLASSES}, **world.enums, __version__=world.now.version)
    fake.__dict__["_builds"] = world.builds
    return fake
