"""Open what is to be timed, and note what the opening took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from kd_deploy.runtime.benchmark.memory import Memory, memory
from kd_deploy.runtime.benchmark.noise import load_before
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.model import Model, open_model, precisions

Configuration = tuple[str, str]
"""Backend and precision, as they are asked for."""


@dataclass(frozen=True)
class Opened:
    """An open model, and memory before and after it was opened."""

    model: Model
    configuration: Configuration
    threads: int | None
    before: Memory
    after: Memory

    def to_json(self) -> dict[str, Any]:
        """What its entries of benchmark.json say beside the timing."""
        stages = {"before": asdict(self.before), "opened": asdict(self.after)}
        return {"threads": self.threads, "memory": stages}


def configurations(bundle: Bundle, backends: Sequence[str], wanted: Sequence[str]) -> list[Configuration]:
    """Every combination of backend and precision that the bundle holds and the backend runs, each once.

    A backend that takes none of the precisions, and a precision that no backend takes, stay in: opening them says why.

    Raises:
        UserError: as `precisions`.
    """
    backends, wanted = list(dict.fromkeys(backends)), list(dict.fromkeys(wanted))
    if len(backends) == 1 or len(wanted) == 1:
        return [(backend, precision) for precision in wanted for backend in backends]
    taken = {backend: precisions(backend, bundle) for backend in backends}
    useless = [backend for backend in backends if not set(wanted) & set(taken[backend])]
    unknown = [precision for precision in wanted if not any(precision in held for held in taken.values())]
    return [
        (backend, precision)
        for precision in wanted
        for backend in backends
        if precision in taken[backend] or backend in useless or precision in unknown
    ]


def open_measured(bundle: Bundle, configuration: Configuration, threads: int | None = None) -> Opened:
    """Open one; raises what `open_model` raises."""
    backend, precision = configuration
    before = memory(backend)
    model = open_model(bundle, backend=backend, precision=precision, threads=threads)
    return Opened(model, configuration, threads, before, memory(backend))


@contextmanager
def open_all(
    bundle: Bundle, wanted: Sequence[Configuration], threads: int | None = None
) -> Iterator[list[Opened]]:
    """Open several side by side; raises what `open_model` raises, and then none stays open."""
    load_before()  # before the opening, which is work too
    with ExitStack() as stack:
        opened = []
        for configuration in wanted:
            opened.append(open_measured(bundle, configuration, threads))
            stack.enter_context(opened[-1].model)
        yield opened
