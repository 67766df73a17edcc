"""What TensorRT calls: a logger and a progress monitor. The one module here that needs TensorRT on import.

API-checked against the real bindings of TensorRT 10.3, 10.16 and 11.4, not run.
"""

from __future__ import annotations

from collections.abc import Callable

from kd_deploy.runtime.engines.progress import Phases
from kd_deploy.runtime.nvidia import trt


class Logger(trt.ILogger):  # type: ignore[misc]
    """Keeps errors and is silent; TensorRT's own writes every severity to stdout.

    Attributes:
        errors: each as one line, in order.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity.name in ("INTERNAL_ERROR", "ERROR"):  # by name: enum numbers moved in 11.0
            self.errors.append(" ".join(msg.split()))

    @property
    def last(self) -> str:
        """The last error."""
        return self.errors[-1] if self.errors else "TensorRT gives no reason"


class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
    """Hands a build's phases on, from any thread; keep it alive while the build runs."""

    def __init__(self, percent: Callable[[int], None]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._phases = Phases(percent)

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._phases.start(phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._phases.step(phase_name, step)
        return True  # go on

    def phase_finish(self, phase_name: str) -> None:
        self._phases.finish(phase_name)
