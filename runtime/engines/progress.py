"""The builder's nested phases as one number. Nothing of TensorRT."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Phases:
    """How far a build is: each phase has steps, and a step may be a phase of its own.

    TensorRT requires that several of its threads may report at the same time.

    Args:
        percent: called with the whole's percentage, 0 to 100, whenever it has grown; by one thread at a time.
    """

    def __init__(self, percent: Callable[[int], None]) -> None:
        self._percent, self._said = percent, 0
        self._lock = threading.Lock()
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # name -> parent, steps, steps done

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = (parent, max(steps, 1), 0)

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if phase := self._phases.get(name):
                self._phases[name] = (*phase[:2], step + 1)
                self._say()

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def _say(self) -> None:
        whole = int(100 * self._done(None))
        if whole > self._said:
            self._said = whole
            self._percent(whole)

    def _done(self, parent: str | None) -> float:
        """The share that is done of the phases below `parent`, which run one after another."""
        inside = [(name, *phase) for name, phase in self._phases.items() if phase[0] == parent]
        return min(1.0, sum((done + self._done(name)) / steps for name, _, steps, done in inside))
