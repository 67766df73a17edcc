"""The student in training: what one optimisation step does, and all the state it has."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kd_deploy.assemble import Assembly
from kd_deploy.distill.objective import Losses
from kd_deploy.guide import Guide
from kd_deploy.models.segmenter import Outputs, Segmenter
from kd_deploy.optim import make_optimizer, make_scheduler
from kd_deploy.verdict import Verdict


class NotFiniteError(Exception):
    """A loss that is not finite, before the weights took its step.

    Attributes:
        first: the first image of the batch's part that it came from, in this process's share.
    """

    def __init__(self, losses: Losses, student: Outputs, teacher: Outputs | None, first: int) -> None:
        super().__init__("a loss is not finite")
        self.losses, self.student, self.teacher, self.first = losses, student, teacher, first


class Learner:
    """Student, teacher, objective and optimiser on their device.

    The teacher is in eval mode and runs under no_grad; nothing of it is optimised or saved.
    """

    def __init__(self, assembly: Assembly) -> None:
        self._settings, self._accelerator = assembly.settings, assembly.accelerator
        self._device = self._accelerator.device
        self._format = torch.channels_last if self._settings.channels_last else torch.preserve_format
        self.segmenter: Segmenter = self._placed(self._with_batchnorm(assembly.segmenter))
        self._adapters = assembly.objective.adapters.to(self._device)
        self._taps = assembly.objective.taps
        self._guide = self._made_guide(assembly)
        optimizer = make_optimizer(self._settings, self.segmenter, self._adapters)
        self.model, self._optimizer = self._accelerator.prepare(self._compiled(self.segmenter), optimizer)
        self._labelled_pixels = assembly.objective.to(self._device).labelled_pixels
        self._objective: nn.Module = assembly.objective
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
            nn.SyncBatchNorm.convert_sync_batchnorm(segmenter)  # type: ignore[no-untyped-call]  # in place
        return segmenter

    def _made_guide(self, assembly: Assembly) -> Guide | None:
        if assembly.teacher is None:
            return None
        guide = Guide(assembly.teacher, assembly.recipe.teacher, self._taps, self._accelerator)
        guide.network.to(memory_format=self._format)
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
        self, images: Tensor, labels: Tensor, *, number: int, measure: bool, interrupted: bool
    ) -> tuple[Losses, Verdict]:
        """One optimisation step on this process's share of a batch.

        Args:
            images: (B, 3, H, W) uint8 RGB.
            labels: (B, H, W) uint8.
            number: steps done before.
            measure: whether the losses carry gradient norms.
            interrupted: whether this process was asked to stop; the verdict says whether any was.

        Raises:
            NotFiniteError: some process's loss is not finite; the weights are as before.
        """
        self._train_mode()
        parts = self._settings.accumulate
        size = len(images) // parts
        labelled = self._accelerator.reduce(self._labelled_pixels(labels) / parts, "mean")
        found = []
        for part in range(parts):
            chosen = slice(part * size, (part + 1) * size)
            student, teacher = self._outputs(images[chosen])
            losses: Losses = self._objective(
                student, teacher, labels[chosen], step=number, labelled=labelled, measure=measure
            )
            verdict = Verdict(losses.total, interrupted, self._accelerator)
            with self._accelerator.no_sync(self.model) if part < parts - 1 else nullcontext():
                self._accelerator.backward(losses.total / parts)
            if not verdict.finite():
                self._optimizer.zero_grad()
                raise NotFiniteError(losses, student, teacher, part * size)
            found.append(losses)
        if self._settings.clip:
            learning = chain(self.model.parameters(), self._objective.parameters())
            self._accelerator.clip_grad_norm_(learning, self._settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._scheduler.step()
        if self._average:
            self._average.update_parameters(self.segmenter)
        return Losses.mean(found), verdict

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
        torch.set_rng_state(state["rng"])
        if self._device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"])


def scored_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict, as smp's, of the network that a checkpoint's scores belong to."""
    prefix = "module.network."
    if not state["average"]:
        network: dict[str, Tensor] = state["network"]
        return network
    return {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}
