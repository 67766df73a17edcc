"""Signals that wait for the end of some work."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from kd_deploy.runtime.interrupts import SIGNALS, held_back


def test_a_signal_waits_from_hold_to_the_end() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as hold:
        hold()
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        done.append("work")
    assert done == ["work"]
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_before_hold_it_comes_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), held_back() as hold:
        signal.raise_signal(signal.SIGINT)
        hold()
        raise AssertionError("it came too late")


def test_an_error_of_the_work_goes_with_it() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, held_back() as hold:
        hold()
        signal.raise_signal(signal.SIGINT)
        raise ValueError("disk")
    assert isinstance(caught.value.__context__, ValueError)


def test_other_threads_may_write_too() -> None:
    """Python sets signal handlers in the main thread alone."""

    def work() -> None:
        with held_back() as hold:
            hold()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()
