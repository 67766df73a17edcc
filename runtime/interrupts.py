"""Ctrl-C, SIGTERM and the like, where work must come to its end first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Those that ask a program to end; the last one comes when a terminal or an ssh connection closes."""


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Yield a function from whose call on signals wait for the end of the block; the first then comes as it would have.

    Only those that Python handles (Ctrl-C does, in every program), and only in the main thread, where they arrive.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        waiting.append((number, frame))

    def hold() -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if number not in before and callable(handler):
                before[number] = handler
                signal.signal(number, remember)

    try:
        yield hold
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            number, frame = waiting[0]
            before[number](number, frame)
