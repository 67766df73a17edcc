"""What each precision of a bundle costs in mIoU, and what it gains in time, on the machine that exports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kd_deploy.export.precisions import FOR_CPU, NOT_ON_A_CPU
from kd_deploy.export.speed import Speed, compare_speed
from kd_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import GateFailedError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.model import Description, Model, open_model
from kd_deploy.runtime.parity import ParityReport, check_bundle


class Remembered(Model):
    """A model that computes the mask of a frame once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._masks: dict[int, NDArray[np.uint8]] = {}
        self.size = model.size

    def describe(self) -> Description:
        return self._model.describe()

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        key = hash(frames.tobytes())
        if key not in self._masks:
            self._masks[key] = self._model.run(frames)
        return self._masks[key]

    def _close(self) -> None:
        self._masks.clear()


def measure(
    bundle: Bundle, frames: Callable[[], Iterable[Frame]], precisions: Sequence[str], split: str = "val"
) -> dict[str, ParityReport]:
    """Judge each precision by PyTorch's float32 on labelled frames; every report is kept in the bundle.

    Args:
        frames: the frames, from the first on, at every call.
        split: of the bundle's data set that they are from.

    Raises:
        GateFailedError: a precision loses more than the bundle allows.
    """
    reports, data = {}, bundle.manifest["data"]["format"]  # its folder stays behind
    with open_model(bundle, backend="torch") as torch_model, Remembered(torch_model) as reference:
        for precision in precisions:
            if precision in NOT_ON_A_CPU:
                continue
            with OnnxRuntimeCpu(bundle, precision) as candidate:
                report = check_bundle(bundle, candidate, reference, frames(), data=data, split=split)
            if report.reasons:
                raise GateFailedError(
                    f"{precision}: {report.reasons[0]}, over {report.frames} frames; {_way_on(precision, report)}; "
                    "nothing was written"
                )
            reports[precision] = report
    return reports


def _way_on(precision: str, report: ParityReport) -> str:
    """What the user can do: of the limits, only that of the mIoU is a recipe's."""
    ways = [] if precision in ("fp32", FOR_CPU) else [f"leave --precision {precision} out"]
    if report.reasons[0].startswith("mIoU"):
        ways.append("raise export.max_miou_drop in the run's recipe")
    if precision.startswith("int8"):
        ways.append("give it more --calibration frames")
    return ", or ".join(ways) or "the export is at fault: please report it"


def time_against_fp32(bundle: Bundle, precisions: Sequence[str]) -> dict[str, Speed]:
    """How long each precision takes on this CPU against fp32 in the form for CPUs, on the golden frames."""
    images = [image for _, image, _ in bundle.golden()]
    speeds = {}
    with OnnxRuntimeCpu(bundle, FOR_CPU) as base:
        for precision in precisions:
            if precision not in NOT_ON_A_CPU:
                with OnnxRuntimeCpu(bundle, precision) as model:
                    speeds[precision] = compare_speed(base, model, images)
    return speeds
