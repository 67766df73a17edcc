"""Stages that overlap, each in threads of its own: bounded, and in order."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], depth: int = 3) -> AbstractContextManager[Iterator[T]]:
    """Iterate over `items` in a thread of its own, up to `depth` of them ahead of the consumer.

    Stages chain: `with ahead(video) as frames, ahead(map(segment, frames)) as masks` decodes, segments and
    consumes at the same time, in order. What a stage raises comes out at the consumer; leaving the block,
    for whatever reason, stops the thread. OpenCV and ONNX Runtime release the GIL, so threads suffice.
    """
    return in_order([lambda item: item], items, depth)


@contextmanager
def in_order(
    workers: Sequence[Callable[[T], R]], items: Iterable[T], depth: int | None = None
) -> Iterator[Iterator[R]]:
    """What the workers make of `items`, in the order of `items`; each worker has a thread of its own.

    A worker that is free takes the next item, so a slow one holds up nobody but the consumer. What `items` or a worker
    raises comes out at the consumer, in its place; leaving the block stops the threads and waits for them, past every
    further Ctrl-C, because what they use is closed next (an `items` that blocks must be stopped before).

    Args:
        workers: functions of one item; none is called from two threads.
        depth: items that may be taken before the consumer has the result, by default two a worker.
    """
    stage: _Stage[T, R] = _Stage(items, depth or 2 * len(workers))
    ends = [threading.Event() for _ in workers]
    threads = [threading.Thread(target=stage.work, args=task) for task in zip(workers, ends, strict=True)]
    try:
        for thread in threads:
            thread.start()
        yield stage.results()
    finally:
        stage.stop(len(threads))
        for thread, end in zip(threads, ends, strict=True):
            if thread.ident is not None:  # started, unless Ctrl-C came before
                wait_past_interrupts(end)
                thread.join()


def wait_past_interrupts(end: threading.Event, seconds: float = math.inf) -> bool:
    """Wait for the end of a thread's work, whatever Ctrl-C says meanwhile; whether it came.

    For an event, because until Python 3.13 a `Thread.join` that Ctrl-C breaks marks a thread that runs as ended.
    """
    deadline = monotonic() + seconds
    while not end.is_set() and (left := deadline - monotonic()) > 0:
        with suppress(KeyboardInterrupt):
            end.wait(min(left, 1))  # the longest wait has a limit of its own
    return end.is_set()


class _Stage(Generic[T, R]):
    """The items that are left, and the results under way in the order of their items."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = iter(items)
        self._turn = threading.Lock()
        self._room = threading.Semaphore(depth)
        self._pending: SimpleQueue[Future[R] | None] = SimpleQueue()  # None: no more
        self._over = False

    def work(self, function: Callable[[T], R], end: threading.Event) -> None:
        """Take items and leave results until there are no more; then set `end`."""
        try:
            while (taken := self._take()) is not None:
                item, result = taken
                try:
                    result.set_result(function(item))
                except BaseException as error:
                    self._over = True
                    result.set_exception(error)
        finally:
            end.set()

    def _take(self) -> tuple[T, Future[R]] | None:
        """The next item and the place of its result."""
        self._room.acquire()
        with self._turn:
            if self._over:
                return None
            result: Future[R] = Future()
            try:
                item = next(self._items)
            except StopIteration:
                self._over = True
                self._pending.put(None)
                return None
            except BaseException as error:
                self._over = True
                result.set_exception(error)
                self._pending.put(result)
                return None
            self._pending.put(result)
            return item, result

    def results(self) -> Iterator[R]:
        while (pending := self._pending.get()) is not None:
            result = pending.result()
            self._room.release()
            yield result

    def stop(self, workers: int) -> None:
        self._over = True
        self._room.release(workers)
