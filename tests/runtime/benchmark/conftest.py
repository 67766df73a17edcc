"""A clock that stands still, models that move it, and programs of a Jetson that are scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.benchmark import turns, video
from tests.runtime.conftest import FakeModel

Array = NDArray[np.uint8]


class Clock:
    """Time that passes only while a model runs."""

    def __init__(self) -> None:
        self.now = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def model(self, milliseconds: Sequence[float], log: list[str] | None = None, name: str = "") -> FakeModel:
        """A model whose calls take the given milliseconds, in turn."""
        count = 0

        def function(frames: Array) -> Array:
            nonlocal count
            self.now += int(milliseconds[count % len(milliseconds)] * 1e6)
            count += 1
            if log is not None:
                log.append(name)
            return frames[..., 0]

        return FakeModel(function=function)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (turns, video):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter_ns=clock.perf_counter_ns))
    return clock


@pytest.fixture
def images() -> Callable[..., list[Array]]:
    def make(count: int = 3, size: tuple[int, int] = (48, 64)) -> list[Array]:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]

    return make


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a shell script on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, script: str) -> Path:
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)
        return folder / name

    return make
