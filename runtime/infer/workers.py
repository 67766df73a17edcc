"""How many models a source is worth, and models that share a bundle and the processor's cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.model import Model, open_model
from kd_deploy.runtime.video.source import Source

ON_CPU = ("onnxruntime-cpu", "openvino")
"""Backends that compute on the CPU, where a network does not use two cores twice as well as one."""

MOST = 4


def workers_for(source: Source, backend: str) -> int:
    """One a core for a video that may be segmented ahead, on the CPU; one where frames come live or a GPU computes.

    Several models raise the rate of a file; they would only raise the latency of a live source.
    """
    if source.is_video and source.finite and backend in ON_CPU:
        return min(cores(), MOST)
    return 1


@contextmanager
def open_models(bundle: Bundle, count: int, *, backend: str, precision: str) -> Iterator[Sequence[Model]]:
    """`count` models that share the cores; one alone takes as many threads as its backend wants.

    Raises:
        UserError, MissingComponentError: as `open_model`.
    """
    threads = None if count == 1 else max(1, cores() // count)
    with ExitStack() as stack:
        yield [
            stack.enter_context(open_model(bundle, backend=backend, precision=precision, threads=threads))
            for _ in range(count)
        ]
