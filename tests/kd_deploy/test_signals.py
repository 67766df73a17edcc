"""Ctrl-C: the first asks, the second insists."""

from __future__ import annotations

import signal
import threading

import pytest

from kd_deploy.signals import Interrupt


def test_the_first_ctrl_c_only_asks_and_a_later_one_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("kd_deploy.signals.time.monotonic", lambda: clock[0])
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        clock[0] += Interrupt.ECHO - 0.1  # a launcher's echo of the same Ctrl-C
        signal.raise_signal(signal.SIGINT)
        clock[0] += 0.2
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
