"""The sum that training minimises: the supervised term and a recipe's distillation terms, each by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.config.terms import Schedule, Supervised, Term
from kd_deploy.distill.methods import METHODS
from kd_deploy.distill.schedule import factor
from kd_deploy.models.segmenter import Outputs
from kd_deploy.runtime.frames import IGNORE


def cross_entropy(logits: Tensor, labels: Tensor, *, ignore_index: int = IGNORE) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; exactly 0 where none is left.

    Args:
        logits: (B, C, h, w), upsampled bilinearly (align_corners=False) to the labels.
        labels: (B, H, W) integer.
    """
    full = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(full, labels.long(), ignore_index=ignore_index, reduction="sum")
    return total / (labels != ignore_index).sum().clamp(min=1)


@dataclass(frozen=True)
class Losses:
    """One batch's losses: what is minimised, and each term by name before and after its weight."""

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Objective:
    """Supervised and distillation terms, each with its weight and its schedule over the run."""

    def __init__(self, supervised: Supervised, terms: Sequence[Term]) -> None:
        self._supervised = supervised
        self._terms = terms

    def __call__(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor, *, progress: float
    ) -> Losses:
        """The losses of a batch at `progress` (0 to 1) of the run; labels (B, H, W) integer."""
        raw = {"ce": cross_entropy(student.logits, labels)}
        weights = {"ce": _weight(self._supervised.weight, self._supervised.schedule, progress)}
        for term in self._terms:
            if teacher is None:
                raise ValueError(f"{term.method}: needs a teacher")
            (tap,) = term.taps
            loss = METHODS[term.method]
            raw[term.method] = loss(student.taps[tap], teacher.taps[tap], labels, **term.options.model_dump())
            weights[term.method] = _weight(term.weight, term.schedule, progress)
        weighted = {name: weights[name] * value for name, value in raw.items()}
        total = sum(weighted.values(), start=student.logits.new_zeros((), dtype=raw["ce"].dtype))
        return Losses(total, raw, weighted)


def _weight(weight: float, schedule: Schedule, progress: float) -> float:
    return weight * factor(schedule.kind, schedule.start, schedule.end, progress)
