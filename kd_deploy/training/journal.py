"""What a training run says of itself: metrics.jsonl, TensorBoard events, and progress on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from accelerate import Accelerator

from kd_deploy.progress import Progress
from kd_deploy.run import Run
from kd_deploy.training.events import Events
from kd_deploy.training.verdict import in_main_process


class Journal:
    """The one voice of a run: where several processes train, the main one writes and all hear what the disk says."""

    def __init__(self, run: Run, start: int, accelerator: Accelerator) -> None:
        self._run, self._start, self._accelerator = run, start, accelerator
        silent = not accelerator.is_main_process
        self._progress = Progress(run.path.name, run.train.iterations, start, intervals=True, silent=silent)
        self._events: Events | None = None

    def __enter__(self) -> Journal:
        """Begin the sitting.

        Raises:
            UserError: the disk refuses metrics.jsonl, here as at every record.
        """
        in_main_process(self._accelerator, self._begin)
        self._progress.__enter__()
        return self

    def _begin(self) -> None:
        self._run.forget_after(self._start)
        try:
            self._events = Events(self._run.path, self._start + 1)
        except OSError as error:
            self._go_on_without_events(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._events:
            self._events.close()

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
        line = {"kind": kind, "step": step, **record}
        in_main_process(self._accelerator, lambda: self._run.log(line))
        if self._events is None:
            return
        try:
            self._events.add(step, scalars)
        except OSError as error:
            self._go_on_without_events(error)

    def _go_on_without_events(self, error: OSError) -> None:
        """metrics.jsonl has the same numbers: a picture of them is not worth a run."""
        self._progress.note(
            f"TensorBoard's events cannot be written ({error.strerror or error}); metrics.jsonl goes on without them"
        )
        if self._events:
            self._events.close()
        self._events = None
