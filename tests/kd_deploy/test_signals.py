"""Ctrl-C: the first asks, the second insists."""

from __future__ import annotations

import signal
import threading

import pytest

from kd_deploy.signals import Interrupt


def test_the_first_ctrl_c_only_asks_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_train_too() -> None:
    """Python sets signal handlers in the main thread alone."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with Interrupt() as interrupt:
                assert not interrupt.asked
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []
