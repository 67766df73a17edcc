"""What a program derives from."""

from __future__ import annotations

import enum
from typing import Any

from tests.runtime.fake_tensorrt.world import world


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


def not_null(logger: ILogger) -> None:
    """Where a Builder and a Runtime begin."""
    assert isinstance(logger, ILogger)
    if world.now.null:
        logger.log(
            ILogger.Severity.ERROR, "createInferBuilder: Error Code 6: CUDA initialization failure: 35"
        )
        raise TypeError("pybind11::init(): factory function returned nullptr")
