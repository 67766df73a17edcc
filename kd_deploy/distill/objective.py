"""The sum that training minimises: the supervised term and a recipe's distillation terms, each by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from kd_deploy.config.terms import BrdBoundaryTerm, Ohem, Schedule, Supervised, Term
from kd_deploy.distill.methods import LEARNED, METHODS
from kd_deploy.distill.schedule import factor
from kd_deploy.distill.supervised import AuxiliaryHead, cross_entropy, labelled_pixels
from kd_deploy.models.segmenter import Outputs, Tap
from kd_deploy.runtime.errors import UserError

Taps = Mapping[str, Tap]
"""A network's taps by name."""


@dataclass(frozen=True)
class Losses:
    """One batch's losses: what is minimised, and each term by name.

    Attributes:
        total: the sum of the weighted terms.
        raw: each term before its weight.
        weighted: each term after its weight and its schedule.
        gradients: L2 norm of the gradient of each weighted term at what it reads of the student (the logits, or
            its taps); empty unless it was asked for.
    """

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def mean(cls, parts: Sequence[Losses]) -> Losses:
        """Of the parts that a batch went through in; the gradients are those of the whole."""

        def of(named: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
            return {
                name: torch.stack([values[name].detach() for values in named]).mean(0) for name in named[0]
            }

        squares = of([{name: x.square() for name, x in part.gradients.items()} for part in parts])
        return cls(
            torch.stack([part.total.detach() for part in parts]).mean(0),
            of([part.raw for part in parts]),
            of([part.weighted for part in parts]),
            {name: (square / len(parts)).sqrt() for name, square in squares.items()},
        )


Loss = Callable[[Any, Any, Tensor], Tensor]
"""Of what student and teacher have at a term's taps (a tensor, or a list where it compares several), and labels."""

Value = Callable[[list[Tensor], list[Tensor], Tensor, Tensor | None], Tensor]
"""Of what student and teacher have at every tap of a term, labels, and how many labelled pixels to divide by."""


@dataclass(frozen=True)
class Part:
    """A term as the objective runs it."""

    name: str
    taps: tuple[str, ...]
    weight: float
    schedule: Schedule
    value: Value

    def read(self, outputs: Outputs) -> list[Tensor]:
        return [outputs.taps[tap] for tap in self.taps]


def _against_labels(loss: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> Value:
    return lambda student, teacher, labels, labelled: loss(student[0], labels, labelled)


def _against_teacher(loss: Loss, *, several: bool) -> Value:
    if several:
        return lambda student, teacher, labels, labelled: loss(student, teacher, labels)
    return lambda student, teacher, labels, labelled: loss(student[0], teacher[0], labels)


class Projected(nn.Module):
    """A loss that compares channels, behind a 1 x 1 projection of the student's to the teacher's."""

    def __init__(self, loss: Loss, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self._loss = loss
        self.projection = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return self._loss(self.projection(student.float()), teacher, labels)


class Objective(nn.Module):
    """Supervised and distillation terms, each with its weight and its schedule over the run.

    What a term learns beside the student (projections between channels, MGD's generator) is this module's: it is
    optimised and saved with the run, and never exported.
    """

    def __init__(
        self,
        supervised: Supervised,
        terms: Sequence[Term] = (),
        *,
        iterations: int,
        student: Taps = MappingProxyType({}),
        teacher: Taps = MappingProxyType({}),
    ) -> None:
        """Wire the terms to the taps of both networks; a recipe without terms needs neither.

        Raises:
            UserError: a term reads a tap that one of the networks does not have.
        """
        super().__init__()
        self._iterations = iterations
        self.adapters = nn.ModuleDict()
        self._add_supervised(supervised, student)
        self._alone = len(self.parts)  # the first ones need no teacher
        for number, term in enumerate(terms):
            for role, taps in (("student", student), ("teacher", teacher)):
                _check_taps(f"distill[{number}].taps", term.method, term.taps, role, taps)
            loss = self._make(term, student[term.taps[0]].channels, teacher[term.taps[0]].channels)
            value = _against_teacher(loss, several=isinstance(term, BrdBoundaryTerm))
            self.parts.append(Part(term.name, term.taps, term.weight, term.schedule, value))

    def _add_supervised(self, supervised: Supervised, student: Taps) -> None:
        weights = supervised.class_weights
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)
        weight, schedule = supervised.weight, supervised.schedule
        loss = _against_labels(partial(self._cross_entropy, supervised.ohem, None))
        self.parts = [Part("ce", ("logits",), weight, schedule, loss)]
        if auxiliary := supervised.auxiliary:
            tap = auxiliary.tap
            _check_taps("supervised.auxiliary.tap", "the auxiliary head", (tap,), "student", student)
            head = AuxiliaryHead(student[tap].channels, student["logits"].channels)
            self.adapters["auxiliary"] = head
            loss = _against_labels(partial(self._cross_entropy, supervised.ohem, head))
            self.parts.append(Part("auxiliary", (tap,), weight * auxiliary.weight, schedule, loss))

    def _cross_entropy(
        self, ohem: Ohem | None, head: nn.Module | None, read: Tensor, labels: Tensor, labelled: Tensor | None
    ) -> Tensor:
        logits = head(read) if head else read
        return cross_entropy(logits, labels, labelled, class_weights=self.class_weights, ohem=ohem)

    def labelled_pixels(self, labels: Tensor) -> Tensor:
        """What a batch's cross-entropy is divided by: `labelled` of its shares is their mean of this."""
        return labelled_pixels(labels, self.class_weights)

    def _make(self, term: Term, student_channels: int, teacher_channels: int) -> Loss:
        options = term.options.model_dump()
        if term.method in LEARNED:
            self.adapters[term.name] = LEARNED[term.method](student_channels, teacher_channels, **options)
            return self.adapters[term.name]
        loss = partial(METHODS[term.method], **options)
        if term.method == "cwd" and term.taps != ("logits",):
            self.adapters[term.name] = Projected(loss, student_channels, teacher_channels)
            return self.adapters[term.name]
        return loss

    @property
    def taps(self) -> list[str]:
        """Every tap that a term reads, once."""
        return list(dict.fromkeys(tap for part in self.parts for tap in part.taps))

    def forward(
        self,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        *,
        step: int,
        labelled: Tensor | None = None,
        measure: bool = False,
    ) -> Losses:
        """The losses of a batch at `step` of the run; labels (B, H, W) integer, `labelled` as for `cross_entropy`.

        `measure` adds the gradient norms, for the price of going back through every loss (not the network) twice.
        """
        if teacher is None and len(self.parts) > self._alone:
            raise ValueError(f"{self.parts[self._alone].name}: needs a teacher")
        raw, weighted, gradients = {}, {}, {}
        with torch.autocast(labels.device.type, enabled=False):  # adapters too compute in float32
            for part in self.parts:
                inputs = part.read(student)
                if measure:  # views of its own for each term: its gradient stops there, and is its own alone
                    inputs = [x.view_as(x) for x in inputs]
                value = part.value(inputs, part.read(teacher) if teacher else [], labels, labelled)
                raw[part.name] = value
                weighted[part.name] = part.weight * factor(part.schedule, step, self._iterations) * value
                if measure:
                    found = torch.autograd.grad(weighted[part.name], inputs, retain_graph=True)
                    gradients[part.name] = torch.stack([x.float().norm() for x in found]).norm()
            total = torch.stack(list(weighted.values())).sum()
        return Losses(total, raw, weighted, gradients)


def _check_taps(key: str, reader: str, wanted: Sequence[str], role: str, taps: Taps) -> None:
    for tap in wanted:
        if tap not in taps:
            there = ", ".join(f"{name} ({tap})" for name, tap in taps.items()) or "none"
            raise UserError(f"{key}: {reader} reads the tap {tap!r}, which the {role} lacks; it has {there}")
