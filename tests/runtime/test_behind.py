from __future__ import annotations

import threading

import pytest

from kd_deploy.runtime.behind import behind


def test_calls_run_in_order_in_one_other_thread():
    seen = []
    with behind(lambda value, *, name: seen.append((value, name, threading.get_ident()))) as call:
        for value in range(20):
            call(value, name="x")
    assert [entry[:2] for entry in seen] == [(value, "x") for value in range(20)]
    threads = {entry[2] for entry in seen}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_caller_goes_on_while_a_call_is_under_way():
    gone_on = threading.Event()
    with behind(lambda: gone_on.wait(10) or pytest.fail("the caller waited")) as call:
        call()
        gone_on.set()


def test_an_error_comes_out_once_at_the_next_call():
    reached = []

    def fail_at_two(value):
        reached.append(value)
        if value == 2:
            raise ValueError("two")

    with behind(fail_at_two) as call:
        call(1)
        call(2)
        with pytest.raises(ValueError, match="two"):
            call(3)
        call(4)
    assert reached == [1, 2, 4]


def test_the_last_error_comes_out_at_the_end():
    with pytest.raises(ValueError, match="last"), behind(int) as call:
        call("1")
        call("last")


def test_an_error_of_the_block_goes_first_and_ends_the_thread():
    before = threading.active_count()
    with pytest.raises(KeyError, match="block"), behind(int) as call:
        call("not a number")
        raise KeyError("block")
    assert threading.active_count() == before
