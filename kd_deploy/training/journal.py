"""What a training run says of itself: metrics.jsonl, TensorBoard events, and progress on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

from kd_deploy.progress import Progress
from kd_deploy.run import Run


class Journal:
    """The one voice of a run: where several processes train, all but the main one are `silent`."""

    def __init__(self, run: Run, start: int, *, silent: bool) -> None:
        self._run, self._start, self._silent = run, start, silent
        self._progress = Progress(run.path.name, run.train.iterations, start, intervals=True, silent=silent)
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Journal:
        if not self._silent:
            self._run.forget_after(self._start)
            self._writer = SummaryWriter(str(self._run.path), purge_step=self._start + 1)
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._writer:
            self._writer.close()

    def advance(self, step: int) -> None:
        self._progress.advance(step)

    def interval(self, step: int, means: dict[str, float], pace: dict[str, float]) -> None:
        """The means of every loss term over an interval, and what is recorded beside them."""
        self._progress.interval(step, means)
        values = {**means, **pace}
        self._record("train", step, values, {f"train/{name}": value for name, value in values.items()})

    def evaluation(self, step: int, result: dict[str, Any]) -> None:
        """The scores of an evaluation, as `evaluate --json` prints them."""
        miou, boundary = result["miou"] or 0.0, result["boundary_iou"] or 0.0
        self._progress.note(f"step {step}: val mIoU {miou:.2f}, boundary IoU {boundary:.2f}")
        self._record("evaluate", step, result, {"val/miou": miou})

    def _record(self, kind: str, step: int, record: dict[str, Any], scalars: dict[str, float]) -> None:
        if self._writer is None:
            return
        self._run.log({"kind": kind, "step": step, **record})
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
