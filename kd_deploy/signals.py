"""Ctrl-C during long work: finish the step under way, save, then stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType


def ignore_interrupt(worker: int) -> None:
    """A data loader's `worker_init_fn`: a terminal sends Ctrl-C to every process, and only the main one asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Interrupt:
    """While active the first Ctrl-C only sets `asked`; another one, seconds later, interrupts at once.

    A launcher such as torchrun hands on the Ctrl-C that the terminal has already sent to all.
    """

    ECHO = 3.0
    """Seconds in which the same Ctrl-C may come again."""

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and time.monotonic() - self._since > self.ECHO:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._since = True, time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._previous)
