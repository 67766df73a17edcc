"""Stages that overlap."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import pytest

from kd_deploy.runtime.video import ahead, in_order


def test_stages_keep_the_order_and_end() -> None:
    with ahead(range(50)) as numbers, ahead(number * number for number in numbers) as squares:
        assert list(squares) == [number * number for number in range(50)]
    with ahead([]) as none:
        assert list(none) == []


def test_stages_work_at_the_same_time_and_ahead() -> None:
    """Each side waits for the other's progress: a stage that ran in the consumer's thread would block."""
    made = [threading.Event() for _ in range(4)]

    def source() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    with ahead(source(), depth=2) as numbers:
        assert next(numbers) == 0
        assert made[2].wait(5)
        assert not made[3].wait(0.05)  # bounded: nobody has taken 1
        assert list(numbers) == [1, 2, 3]


def fails_at(limit: int, items: Iterable[int]) -> Iterator[int]:
    for item in items:
        if item == limit:
            raise ValueError(f"item {item}")
        yield item


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_exception_in_any_stage_reaches_the_consumer_and_stops_the_threads(failing: int) -> None:
    limits = [5 if stage == failing else -1 for stage in range(3)]
    seen: list[int] = []

    def run() -> None:
        with ahead(fails_at(limits[0], count())) as first, ahead(fails_at(limits[1], first)) as second:
            seen.extend(fails_at(limits[2], second))

    threads = threading.active_count()
    with pytest.raises(ValueError, match="item 5"):
        run()
    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == threads


def test_ctrl_c_in_the_consumer_stops_the_threads() -> None:
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), ahead(count()):
        raise KeyboardInterrupt
    assert threading.active_count() == threads


def test_workers_of_any_speed_keep_the_order() -> None:
    delays = random.Random(0)
    names: set[str] = set()

    def worker(number: int) -> int:
        names.add(threading.current_thread().name)
        time.sleep(delays.random() / 500)
        return number * number

    with in_order([worker] * 4, range(100)) as squares:
        assert list(squares) == [number * number for number in range(100)]
    assert len(names) == 4


def test_workers_work_at_the_same_time() -> None:
    """Each waits for the other: one alone would wait for ever."""
    meeting = threading.Barrier(2, timeout=10)
    with in_order([lambda number: meeting.wait() * 0 + number] * 2, range(6)) as numbers:
        assert list(numbers) == list(range(6))


@pytest.mark.parametrize(("workers", "depth"), [(1, 1), (2, 2), (3, 6)])
def test_never_more_than_the_depth_is_taken_before_the_consumer_has_it(workers: int, depth: int) -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for number in range(30):
            taken = number + 1
            yield number

    with in_order([lambda item: item] * workers, source(), depth) as results:
        for done, _ in enumerate(results, 1):
            time.sleep(0.001)  # for the workers to run ahead
            assert taken <= done + depth
    assert taken == 30


def fails(number: int) -> int:
    if number == 5:
        raise ValueError("item 5")
    return number


@pytest.mark.parametrize("failing", ["a worker", "the source"])
def test_what_a_worker_or_the_source_raises_comes_out_once_in_its_place(failing: str) -> None:
    threads, seen, worker = threading.active_count(), [], fails
    items: Iterable[int] = count()
    if failing == "the source":
        items, identity = fails_at(5, count()), lambda item: item
        worker = identity

    def run() -> None:
        with in_order([worker] * 3, items) as results:
            seen.extend(results)

    with pytest.raises(ValueError, match="item 5"):
        run()
    assert seen == [0, 1, 2, 3, 4]
    assert threading.active_count() == threads


def test_leaving_early_stops_all_workers() -> None:
    threads = threading.active_count()
    workers: list[Callable[[int], int]] = [lambda item: item] * 3
    with ahead(count()) as numbers, in_order(workers, numbers) as results:
        assert next(results) == 0
    assert threading.active_count() == threads


IMPATIENT = """
import sys
from kd_deploy.runtime.video import ahead, in_order

state = "never begun"

def slow(item):
    global state
    state = "at work"
    print(state, flush=True)
    sys.stdin.readline()
    state = "done"

try:
    with ahead(range(9)) as items, in_order([slow], items) as results:
        list(results)
except KeyboardInterrupt:
    print(state)
"""
"""Says what the worker was doing when the block was left, where its session would be closed."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("signals", [2, 3])
def test_ctrl_c_again_and_again_still_waits_for_the_worker(signals: int) -> None:
    command = [sys.executable, "-c", IMPATIENT]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    for _ in range(signals):
        time.sleep(0.2)  # signals that wait for each other become one
        process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.communicate("go on\n", timeout=60)[0] == "done\n"
    assert process.returncode == 0


@pytest.mark.parametrize("started", [0, 1, 2])
def test_ctrl_c_while_the_threads_start_leaves_none(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    threads, start, number = threading.active_count(), threading.Thread.start, count()

    def interrupted(thread: threading.Thread) -> None:
        if next(number) == started:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), in_order([abs] * 3, range(100)):
        pass
    assert threading.active_count() == threads
