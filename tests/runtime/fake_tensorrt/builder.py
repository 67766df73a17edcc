"""From a network to what is in an engine's file: what the build was asked for, and the ONNX model."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.runtime.fake_tensorrt.logger import ILogger, not_null
from tests.runtime.fake_tensorrt.network import INetworkDefinition
from tests.runtime.fake_tensorrt.world import Strict, world


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


class IBuilderConfig(Strict):
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
        assert pool == world.enums["MemoryPoolType"].WORKSPACE
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


class Builder(Strict):
    def __init__(self, logger: ILogger) -> None:
        not_null(logger)
        self._logger = logger

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return world.now.dla

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> memoryview | None:
        strong = bool(network._flags & 1 << world.enums["NetworkDefinitionCreationFlag"].STRONGLY_TYPED)
        facts = {
            "version": world.now.version,
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
        world.builds.append(facts)
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
        if world.now.crash:
            os.abort()
        if world.now.killed_above is not None and config._workspace > world.now.killed_above:
            os.kill(os.getpid(), signal.SIGKILL)
        if world.now.memory is not None and config._workspace > world.now.memory:
            return "[resizingAllocator.cpp::allocate::74] Error Code 1: Cuda Runtime (out of memory)"
        if world.now.fails or (world.now.strong_fails and strong):
            return "Error Code 10: Could not find any implementation for node conv_1"
        return None
