"""Nested phases as a percentage."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kd_deploy.runtime.engines.progress import Phases


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Python changes the thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_phase_inside_a_step_counts_as_part_of_it() -> None:
    said: list[int] = []
    phases = Phases(said.append)
    phases.start("build", None, 2)
    phases.step("build", 0)
    phases.start("tactics", "build", 4)
    for step in range(4):
        phases.step("tactics", step)
    phases.finish("tactics")
    phases.step("build", 1)
    phases.finish("build")
    assert said == [50, 62, 75, 87, 100]


def test_it_never_goes_back_and_never_above_the_whole() -> None:
    said: list[int] = []
    phases = Phases(said.append)
    for name in ("first", "second"):
        phases.start(name, None, 1)
        phases.step(name, 0)
        phases.step(name, 1)  # a step too many
        phases.finish(name)
    phases.step("unknown", 3)
    assert said == [100]


@pytest.mark.usefixtures("hasty_threads")
def test_many_threads_report_at_the_same_time() -> None:
    """TensorRT calls a monitor "from multiple internal threads", and asks that it be thread-safe."""
    said: list[int] = []
    phases = Phases(said.append)
    phases.start("build", None, 100)

    def work(thread: int) -> None:
        for number in range(300):
            name = f"{thread}.{number % 3}"
            phases.start(name, "build", 5)
            for step in range(5):
                phases.step(name, step)
            phases.finish(name)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    phases.step("build", 99)
    assert said == sorted(set(said))
    assert said[-1] == 100


@pytest.mark.usefixtures("hasty_threads")
def test_one_thread_at_a_time_is_told() -> None:
    inside: list[int] = []
    together: list[int] = []

    def percent(value: int) -> None:
        inside.append(value)
        time.sleep(0.002)  # others come here meanwhile
        together.append(len(inside))
        inside.remove(value)

    phases = Phases(percent)
    phases.start("build", None, 40)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda step: phases.step("build", step), range(40)))
    assert set(together) == {1}
