"""What TensorRT calls."""

from __future__ import annotations

import pytest

from tests.runtime.gpu import FakeGpu


def test_the_logger_keeps_errors_as_lines_and_prints_nothing(
    gpu: FakeGpu, capfd: pytest.CaptureFixture[str]
) -> None:
    from kd_deploy.runtime.engines.callbacks import Logger

    logger = Logger()
    assert logger.last == "TensorRT gives no reason"
    for severity in gpu.trt.ILogger.Severity:
        logger.log(severity, f"{severity.name}:\n  a story")
    assert logger.errors == ["INTERNAL_ERROR: a story", "ERROR: a story"]
    assert logger.last == "ERROR: a story"
    assert capfd.readouterr() == ("", "")


def test_the_monitor_reports_and_lets_the_build_go_on(gpu: FakeGpu) -> None:
    from kd_deploy.runtime.engines.callbacks import Monitor

    said: list[int] = []
    monitor = Monitor(said.append)
    monitor.phase_start("build", None, 4)
    assert monitor.step_complete("build", 0) is True
    monitor.phase_finish("build")
    assert said == [25]
