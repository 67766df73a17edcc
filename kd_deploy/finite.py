"""Losses that are not finite: noticed before they reach the weights, and traced to a term and a picture."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from kd_deploy.distill.objective import Losses
from kd_deploy.models.segmenter import Outputs


class Finite:
    """Whether a loss is finite in every process: asked now, answered later, so that a GPU works on meanwhile."""

    def __init__(self, loss: Tensor, accelerator: Accelerator) -> None:
        wrong = (~torch.isfinite(loss.detach())).float()
        if accelerator.num_processes > 1:
            wrong = accelerator.reduce(wrong, "sum")
        self._event = None
        if wrong.device.type == "cuda":
            self._wrong = torch.empty((), pin_memory=True).copy_(wrong, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._wrong = wrong

    def __bool__(self) -> bool:
        if self._event:
            self._event.synchronize()
        return not self._wrong.item()


def wrong_images(outputs: Outputs | None) -> tuple[str, list[int]]:
    """The first of a network's outputs that is not finite, by name, and the images of the batch where it is not."""
    for name, tensor in outputs.taps.items() if outputs else ():
        fine = torch.isfinite(tensor.detach()).flatten(1).all(1)
        if not fine.all():
            return name, (~fine).nonzero().flatten().tolist()
    return "", []


def wrong_term(losses: Losses) -> str:
    """The first term that is not finite, as "kd is nan"."""
    for name, value in losses.raw.items():
        if not math.isfinite(number := value.item()):
            return f"{name} is {number}"
    return "their weighted sum is not finite"
