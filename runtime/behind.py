"""Work that nobody waits for, in a thread of its own, one call behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec

P = ParamSpec("P")


@contextmanager
def behind(function: Callable[P, object]) -> Iterator[Callable[P, None]]:
    """Call `function` in another thread while the caller goes on to the next item.

    `with behind(score.update) as update:` gives an `update` that returns at once, so that the model computes a frame
    while the one before is scored (OpenCV, NumPy and the backends release the GIL). Calls run in order, one at a time:
    each first waits for the one before. What one raises comes out at the next call or at the end of the block, once;
    an error of the block itself goes first. At the end of the block, for whatever reason, no call is under way.

    Args:
        function: must not be called by anyone else meanwhile, nor what it is given be changed.
    """
    under_way: Future[object] | None = None

    def settle() -> None:
        nonlocal under_way
        done, under_way = under_way, None
        if done:
            done.result()

    with ThreadPoolExecutor(1) as thread:

        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            nonlocal under_way
            settle()
            under_way = thread.submit(function, *args, **kwargs)

        yield call
        settle()
