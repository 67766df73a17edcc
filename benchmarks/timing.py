"""What the benchmarks of distillation share: clock, memory, labels and tables."""

from __future__ import annotations

import argparse
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_deploy.runtime.environment import cpu_name, environment
from kd_deploy.runtime.files import write_json

Result = TypeVar("Result")


def describe(device: torch.device) -> str:
    """Where and when: what stands above every table."""
    where = f"{torch.cuda.get_device_name()} on {cpu_name()}" if device.type == "cuda" else cpu_name()
    facts = environment()
    load = "" if facts["load_average"] is None else f", load {facts['load_average'][0]}"
    return (
        f"{device.type}: {where}, {torch.get_num_threads()} CPU threads{load}, torch {torch.__version__}, "
        f"Python {facts['python']}, {facts['date']}"
    )


def positive(text: str) -> int:
    """An option's whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero, not {text!r}")
    return int(text)


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def milliseconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, from an idle device to an idle device."""
    synchronise(device)
    start = time.perf_counter()
    function()
    synchronise(device)
    return (time.perf_counter() - start) * 1000


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Milliseconds of every function in each of `repeats` rounds, so that a slow spell hits all of them."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            samples[name].append(milliseconds(function, device))
    return samples


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def with_peak(function: Callable[[], Result], device: torch.device) -> tuple[Result, int]:
    """What one call returns, and the most bytes that it held at once, beside what was there before.

    CUDA: the allocator's own peak. CPU: the storages that operators returned, from their making to the end of
    their last tensor, forward and backward, those kept for the gradient and the result included; scratch
    memory inside an operator is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = function()
        torch.cuda.synchronize()
        return result, torch.cuda.max_memory_allocated() - before
    with _LiveBytes() as live:
        result = function()
    return result, live.peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts the bytes of the storages that operators make, while anyone holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((*args, *(kwargs or {}).values())):  # the caller's, or counted before
            self._known.add(tensor.untyped_storage())
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known.add(storage)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._end, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self.live)
        return result

    def _end(self, size: int) -> None:
        self.live -= size


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def street(batch: int, size: Sequence[int], classes: int, device: torch.device) -> Tensor:
    """Labels (B,H,W) uint8 like a street: three bands, boxes and poles of up to 20 classes, some pixels ignored.

    They are the same at every call. Up to 20 classes all are in every image; of more, 20 drawn for each.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = size
    labels = torch.empty(batch, height, width, dtype=torch.uint8)
    for image in labels:
        ids = torch.randperm(classes, generator=generator)[:20].tolist()
        for band, (top, bottom) in enumerate(((0, 0.3), (0.3, 0.55), (0.55, 1))):
            image[int(top * height) : int(bottom * height)] = ids[band % len(ids)]
        for item in [*ids, *ids, 255, 255, *ids]:
            y, x, tall, wide = torch.rand(4, generator=generator).tolist()
            y, x, tall, wide = 0.1 + 0.6 * y, 0.95 * x, 0.05 + 0.2 * tall, 0.02 + 0.1 * wide
            rows = slice(int(y * height), int((y + tall) * height))
            image[rows, int(x * width) : int((x + wide) * width) + 1] = item
        image[int(0.94 * height) :, width // 4 : 3 * width // 4] = 255  # the bonnet
    return labels.to(device)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as markdown, the first column aligned left and the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def write_results(file: Path | None, results: dict[str, Any]) -> None:
    """The results with their environment, where a file was asked for."""
    if file:
        write_json(file, {"environment": environment(), "threads": torch.get_num_threads()} | results)
