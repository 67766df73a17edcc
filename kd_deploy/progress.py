"""Progress on stderr: a bar on a terminal, else a line per interval."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """One long piece of work of `total` steps; `start` of them were done in an earlier sitting."""

    def __init__(self, title: str, total: int | None, start: int = 0) -> None:
        self._title, self._total, self._start = title, total, start
        self._console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=start, speed="", values="")

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, step: int, total: int | None = None) -> None:
        """`step` steps are done, the earlier sitting's included; `total` where it was not known before."""
        speed = f"{self._speed(step):.2f} it/s"
        self._bar.update(self._task, completed=step, total=total or self._total, speed=speed)

    def interval(self, step: int, values: dict[str, float]) -> None:
        """An interval ended: show its values."""
        text = "  ".join(
            f"{name} {value:.4g}" for name, value in values.items() if not name.endswith(".weighted")
        )
        if self._console.is_terminal:
            self._bar.update(self._task, values=text)
            return
        speed = self._speed(step)
        left = "" if self._total is None else f"  ETA {(self._total - step) / speed:.0f} s"
        self.note(f"{step}/{self._total}  {text}  {speed:.2f} it/s{left}")

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(f"{self._title}: {text}", soft_wrap=True, markup=False)

    def _speed(self, step: int) -> float:
        return (step - self._start) / max(time.monotonic() - self._began, 1e-9)
