"""What stops a run: a loss that is not finite (in which term, on which picture) or Ctrl-C, in any process."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from kd_deploy.distill.objective import Losses
from kd_deploy.models.segmenter import Outputs


class Verdict:
    """What all processes say of a step: whether the loss is finite, and whether Ctrl-C was pressed.

    Asked before the backward pass and answered after it, so that a GPU works on meanwhile.
    """

    def __init__(self, loss: Tensor, interrupted: bool, accelerator: Accelerator) -> None:
        wrong = ~torch.isfinite(loss.detach())
        votes = torch.stack([wrong, torch.full_like(wrong, interrupted)]).float()
        if accelerator.num_processes > 1:
            votes = accelerator.reduce(votes, "sum")
        self._event = None
        if votes.device.type == "cuda":
            self._votes = torch.empty(2, pin_memory=True).copy_(votes, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._votes = votes

    def finite(self) -> bool:
        return not self._count(0)

    def interrupted(self) -> bool:
        return bool(self._count(1))

    def _count(self, vote: int) -> float:
        if self._event:
            self._event.synchronize()
        return self._votes[vote].item()


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
