"""Progress on stderr: a bar on a terminal, else a line per interval, or every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Item = TypeVar("Item")

SILENT_SECONDS = 10.0
"""Off a terminal `advance` says nothing sooner than this after the last line: short work is silent."""


class Progress:
    """One long piece of work of `total` steps; `start` of them were done in an earlier sitting.

    Off a terminal a line is printed at each `interval`, and for work without intervals every ten seconds.
    `still`: the bar is drawn at `advance` only, by no thread that would disturb what is timed meanwhile.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        start: int = 0,
        *,
        intervals: bool = False,
        silent: bool = False,
        still: bool = False,
    ) -> None:
        self._intervals = intervals
        self._still = still
        self._title, self._total, self._start = title, total, start
        self._console = Console(stderr=True, highlight=False, quiet=silent)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=self._console,
            disable=silent or not self._console.is_terminal,
            auto_refresh=not still,
        )
        self._task = self._bar.add_task(title, total=total, completed=start, speed="", values="")

    def __enter__(self) -> Progress:
        self._began = self._said = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, step: int, total: int | None = None) -> None:
        """`step` steps are done, the earlier sitting's included; `total` where it was not known before."""
        self._total = total or self._total
        if self._console.is_terminal:
            speed = f"{self._speed(step):.2f} it/s"
            self._bar.update(self._task, completed=step, total=self._total, speed=speed, refresh=self._still)
        elif not self._intervals and time.monotonic() - self._said >= SILENT_SECONDS:
            self._say(step)

    def interval(self, step: int, values: dict[str, float]) -> None:
        """An interval ended: show its values."""
        text = "  ".join(
            f"{name} {value:.4g}"
            for name, value in values.items()
            if not name.endswith((".weighted", ".gradient"))
        )
        if self._console.is_terminal:
            self._bar.update(self._task, values=text)
        else:
            self._say(step, text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(f"{self._title}: {text}", soft_wrap=True, markup=False)

    def _say(self, step: int, *values: str) -> None:
        speed = self._speed(step)
        parts = [str(step), *values, f"{speed:.2f} it/s"]
        if self._total is not None:
            parts = [f"{step}/{self._total}", *parts[1:], f"ETA {(self._total - step) / speed:.0f} s"]
        self.note("  ".join(parts))
        self._said = time.monotonic()

    def _speed(self, step: int) -> float:
        return (step - self._start) / max(time.monotonic() - self._began, 1e-9)


def counted(title: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """`items` under a progress bar."""
    with Progress(title, total) as progress:
        for done, item in enumerate(items, start=1):
            yield item
            progress.advance(done)
