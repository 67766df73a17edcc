"""The student in training: what one optimisation step does, and all the state it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kd_deploy.distill.objective import Losses
from kd_deploy.models.segmenter import Outputs, Segmenter
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import Assembly
from kd_deploy.training.guide import Guide
from kd_deploy.training.optim import make_optimizer, make_scheduler
from kd_deploy.training.verdict import NotFiniteError, Verdict


@dataclass(frozen=True)
class Weighed:
    """A batch's losses and, for each term, the gradient norm of cross-entropy at what that term reads."""

    losses: Losses
    ce_gradients: dict[str, Tensor]


class Learner:
    """Student, teacher, objective and optimiser on their device.

    The teacher is in eval mode and runs under no_grad; nothing of it is optimised or saved.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._settings, self._accelerator = assembly.settings, assembly.accelerator
        self._device = self._accelerator.device
        self._format = torch.channels_last if self._settings.channels_last else torch.preserve_format
        self.segmenter: Segmenter = self._placed(self._with_batchnorm(assembly.segmenter))
        objective = assembly.objective.to(self._device)
        self._adapters, self._taps, self._parts = objective.adapters, objective.taps, objective.parts
        self._guide = self._made_guide(assembly)
        optimizer = make_optimizer(self._settings, self.segmenter, self._adapters)
        self.model, self._optimizer = self._accelerator.prepare(self._compiled(self.segmenter), optimizer)
        self._labelled_pixels = objective.labelled_pixels
        self._objective: nn.Module = objective
        if len(self._adapters):
            self._objective = self._accelerator.prepare(self._objective)
        self._scheduler = make_scheduler(optimizer, self._settings)
        self._average: AveragedModel | None = None
        if self._settings.ema:
            decay = get_ema_multi_avg_fn(self._settings.ema)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(self.segmenter, multi_avg_fn=decay)

    def _placed(self, segmenter: Segmenter) -> Segmenter:
        return segmenter.to(self._device, memory_format=self._format)  # type: ignore[call-overload,no-any-return]

    def _with_batchnorm(self, segmenter: Segmenter) -> Segmenter:
        """Statistics of the whole batch, where several GPUs share one (on a CPU torch has none of that)."""
        on_gpus = self._device.type == "cuda" and self._accelerator.num_processes > 1
        if self._settings.batchnorm == "sync" and on_gpus:
            convert_sync_batchnorm(segmenter)  # in place; torch's own loses the activation of timm's norms
        return segmenter

    def _made_guide(self, assembly: Assembly) -> Guide | None:
        if assembly.teacher is None:
            return None
        guide = Guide(assembly.teacher, assembly.recipe.teacher, self._taps, self._accelerator)
        if self._settings.compile:
            guide.compile()
        return guide

    def _compiled(self, network: nn.Module) -> nn.Module:
        return torch.compile(network) if self._settings.compile else network  # type: ignore[return-value]

    @property
    def scored(self) -> Segmenter:
        """The network that is evaluated and kept: the averaged one where there is one."""
        if self._average is None:
            return self.segmenter
        averaged: Segmenter = self._average.module  # type: ignore[assignment]
        return averaged

    @property
    def lr(self) -> float:
        """The encoder's learning rate in the next step."""
        return float(self._scheduler.get_last_lr()[0])

    def step(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        number: int,
        measure: bool,
        interrupted: bool,
        blank: bool = False,
    ) -> tuple[Losses, Verdict]:
        """One optimisation step on this process's share of a batch.

        Args:
            images: (B, 3, H, W) uint8 RGB.
            labels: (B, H, W) uint8.
            number: steps done before.
            measure: whether the losses carry gradient norms.
            interrupted: whether this process was asked to stop; the verdict says whether any was.
            blank: whether there is nothing in this process's share; then no process takes the step.

        Raises:
            NotFiniteError: some process's loss is not finite, or its share is blank; all state is as before.
        """
        self._train_mode()
        before = self._passing_state()
        labelled = self._labelled(labels)
        found = []
        parts = self._parts_of(images, labels)
        for number_of_part, (first, some, known) in enumerate(parts, start=1):
            last = number_of_part == len(parts)
            with nullcontext() if last else self._unsynchronised():
                student, teacher = self._outputs(some)
                losses: Losses = self._objective(
                    student, teacher, known, step=number, labelled=labelled, measure=measure
                )
                total = losses.total * math.nan if blank else losses.total
                verdict = Verdict(total, interrupted, self._accelerator)
                self._accelerator.backward(losses.total / len(parts))
            if not verdict.finite():
                self._optimizer.zero_grad()
                self._restore_passing(before)
                raise NotFiniteError(losses, student, teacher, first)
            found.append(losses)
        if self._settings.clip:
            learning = chain(self.model.parameters(), self._objective.parameters())
            self._accelerator.clip_grad_norm_(learning, self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if not self._accelerator.optimizer_step_was_skipped:  # by fp16's scaler
            self._scheduler.step()
            if self._average:
                self._average.update_parameters(self.segmenter)
        return Losses.mean(found), verdict

    def weigh(self, images: Tensor, labels: Tensor) -> Weighed:
        """The terms of a batch at the start of the run, without a step.

        Raises:
            NotFiniteError: a loss is not finite.
        """
        self._train_mode()
        labelled, found = self._labelled(labels), []
        for first, some, known in self._parts_of(images, labels):
            student, teacher = self._outputs(some)
            losses: Losses = self._objective(student, teacher, known, step=0, labelled=labelled, measure=True)
            if not torch.isfinite(losses.total):
                raise NotFiniteError(losses, student, teacher, first)
            ce = {}
            for part in self._parts:
                gradient = torch.autograd.grad(losses.weighted["ce"], part.read(student), retain_graph=True)
                ce[part.name] = torch.stack([x.float().norm() for x in gradient]).norm()
            found.append((losses, ce))
        mean = Losses.mean([losses for losses, _ in found])
        squares = {name: torch.stack([ce[name].square() for _, ce in found]).mean() for name in found[0][1]}
        return Weighed(mean, {name: (square / len(found)).sqrt() for name, square in squares.items()})

    def _parts_of(self, images: Tensor, labels: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """The parts that a batch goes through in, each with the number of its first image."""
        size = len(images) // self._settings.accumulate
        return [(at, images[at : at + size], labels[at : at + size]) for at in range(0, len(images), size)]

    def _labelled(self, labels: Tensor) -> Tensor:
        """Labelled pixels of a part, as a mean over all parts and processes."""
        mean: Tensor = self._accelerator.reduce(
            self._labelled_pixels(labels) / self._settings.accumulate, "mean"
        )
        return mean

    @contextmanager
    def _unsynchronised(self) -> Iterator[None]:
        """Gradients stay in this process, until a later part's."""
        with self._accelerator.no_sync(self.model), self._accelerator.no_sync(self._objective):
            yield

    def _passing_state(self) -> dict[str, Any]:
        """What a forward pass changes by itself: running statistics and random states."""
        buffers = [b.clone() for b in self._buffers()]
        on_gpu = self._device.type == "cuda"
        return {
            "buffers": buffers,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if on_gpu else None,
        }

    def _restore_passing(self, state: dict[str, Any]) -> None:
        for buffer, value in zip(self._buffers(), state["buffers"], strict=True):
            buffer.copy_(value)
        self._restore_random(state)

    def _buffers(self) -> list[Tensor]:
        return [*self.segmenter.buffers(), *self._adapters.buffers()]

    def _train_mode(self) -> None:
        self.model.train()
        if self._settings.batchnorm == "frozen":
            for module in self.segmenter.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _outputs(self, images: Tensor) -> tuple[Outputs, Outputs | None]:
        images = images.float().to(memory_format=self._format)
        student: Outputs = self.model(images, self._taps)
        return student, self._guide(images) if self._guide else None

    @property
    def refused(self) -> UserError | None:
        """Why the teacher's cache cannot be written; the step that met it is done without."""
        return self._guide.refused if self._guide else None

    def state(self) -> dict[str, Any]:
        """All that another sitting needs to go on with the same numbers."""
        scaler = self._accelerator.scaler
        on_gpu = self._device.type == "cuda"
        return {
            "network": self.segmenter.network.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "adapters": self._adapters.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if on_gpu else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.segmenter.network.load_state_dict(state["network"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._adapters.load_state_dict(state["adapters"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        if self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        self._restore_random(state)

    def _restore_random(self, state: dict[str, Any]) -> None:
        torch.set_rng_state(state["rng"])
        if self._device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"])

    def sound(self) -> bool:
        """Whether every weight and statistic is finite."""
        values = [*self.segmenter.parameters(), *(b for b in self._buffers() if b.is_floating_point())]
        return bool(torch.stack([torch.isfinite(value).all() for value in values]).all())
