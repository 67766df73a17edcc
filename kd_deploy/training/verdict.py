"""What stops a run, in any process: a loss that is not finite (of which term and picture), Ctrl-C, the disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from kd_deploy.data.stream import Stream
from kd_deploy.distill.objective import Losses
from kd_deploy.models.segmenter import Outputs
from kd_deploy.runtime.errors import UserError


class NotFiniteError(Exception):
    """A loss that is not finite; the learner is as it was before the step.

    Attributes:
        first: the first image of the batch's part that it came from, in this process's share.
    """

    def __init__(self, losses: Losses, student: Outputs, teacher: Outputs | None, first: int) -> None:
        super().__init__("a loss is not finite")
        self.losses, self.student, self.teacher, self.first = losses, student, teacher, first


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


def in_main_process(accelerator: Accelerator, work: Callable[[], object]) -> None:
    """Do in the main process what only one may do, while the others wait; where it is refused, all end.

    Raises:
        UserError: in the main process, what `work` raised; the others exit as `end` says.
    """
    refused: list[UserError | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except UserError as error:
            refused = [error]
    broadcast_object_list(refused)
    if refused[0]:
        end(accelerator, refused[0])


def end(accelerator: Accelerator, error: UserError) -> NoReturn:
    """Stop every process with an error that all of them know; the main one says it."""
    if accelerator.is_main_process:
        raise error
    raise SystemExit(error.exit_code)


def explain(error: NotFiniteError, stream: Stream, first: int) -> tuple[str, bool]:
    """What is not finite, and what to do about it; whether it is the student.

    `first` is the number in the stream of the first image of this process's share. The text is empty where
    only another process's share is at fault.
    """
    for role, outputs in (("student", error.student), ("teacher", error.teacher)):
        tap, images = _wrong_images(outputs)
        if not images:
            continue
        text = f"{_wrong_term(error.losses)}: the {role}'s {tap} are not finite"
        if role == "student":
            return f"{text}; lower train.lr or the weights of the terms and start again", True
        names = ", ".join(stream.name(first + error.first + image) for image in images)
        return f"{text} on {names}; evaluate that teacher, or leave them out", False
    if torch.isfinite(error.losses.total):
        return "", False
    return f"{_wrong_term(error.losses)}; lower the weight of that term", False


def _wrong_images(outputs: Outputs | None) -> tuple[str, list[int]]:
    """The first of a network's outputs that is not finite, by name, and the images of the batch where it is not."""
    for name, tensor in outputs.taps.items() if outputs else ():
        fine = torch.isfinite(tensor.detach()).flatten(1).all(1)
        if not fine.all():
            return name, (~fine).nonzero().flatten().tolist()
    return "", []


def _wrong_term(losses: Losses) -> str:
    """The first term that is not finite, as "kd is nan"."""
    for name, value in losses.raw.items():
        if not math.isfinite(number := value.item()):
            return f"{name} is {number}"
    return "their weighted sum is not finite"
