"""The training loop: one network, one objective, a frozen teacher where there is one."""

from __future__ import annotations

import time
from itertools import chain
from typing import Any, NoReturn

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from kd_deploy.assemble import Assembly
from kd_deploy.data.stream import Stream, loader
from kd_deploy.distill.objective import Losses
from kd_deploy.evaluate import score, to_json
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.finite import Finite, wrong_images, wrong_term
from kd_deploy.journal import Journal
from kd_deploy.models.segmenter import Outputs
from kd_deploy.optim import make_optimizer, make_scheduler
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.signals import Interrupt

_OF_THE_MODEL = ("backend", "precision", "device", "versions")
"""What `evaluate --json` says beside the scores; a run says it once, in its summary."""


class Trainer:
    """Trains an assembly's network for a run, from its last checkpoint where there is one.

    The teacher is put into eval mode and runs under no_grad; nothing of it is optimised or saved.

    Attributes:
        step: iterations done, over all sittings of the run.
        seconds: time spent in them.
        result: the scores of the last evaluation, as `evaluate --json` prints them.
    """

    def __init__(self, run: Run, assembly: Assembly) -> None:
        self.run, self.settings, self.accelerator = run, assembly.settings, assembly.accelerator
        device = self.accelerator.device
        self._on_gpu = device.type == "cuda"
        self.train_set, self.val_set = assembly.datasets
        self.teacher = assembly.teacher
        if self.teacher:
            self.teacher.to(device).eval().requires_grad_(False)
        self.segmenter = assembly.segmenter.to(device)
        self.adapters = assembly.objective.adapters.to(device)
        self.taps = assembly.objective.taps
        learning = nn.ModuleList([self.segmenter, self.adapters])
        optimizer = make_optimizer(self.settings, learning)
        self.model, self.optimizer = self.accelerator.prepare(self.segmenter, optimizer)
        self.objective: nn.Module = assembly.objective
        if len(self.adapters):
            self.objective = self.accelerator.prepare(self.objective)
        self.scheduler = make_scheduler(optimizer, self.settings)
        self.window = Window()
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        self.lr = 0.0  # of the last step
        self.result: dict[str, Any] = {}
        self._restore()
        self.stream = Stream(self.train_set, self.settings)
        self.journal = Journal(run, self.step, silent=not self.accelerator.is_main_process)

    def fit(self) -> None:
        """Train to the last iteration; several processes share every batch.

        Raises:
            UserError: the disk refuses, or a loss is not finite.
            KeyboardInterrupt: Ctrl-C, once the step under way is done and saved.
        """
        batches = self.accelerator.prepare(loader(self.stream, self.settings, start=self.step))
        with self.journal, Interrupt() as interrupt:
            for images, labels in batches:
                self._timed_step(images, labels)
                if interrupt.asked:
                    self._save("last")
                    raise KeyboardInterrupt

    def _timed_step(self, images: Tensor, labels: Tensor) -> None:
        losses = self._train_step(images, labels)
        self.window.add(losses, self.settings.batch_size)
        self.journal.advance(self.step)
        if self._logs(self.step):
            self._log(losses.gradients)
        if self.step % self.run.recipe.evaluate.every == 0 or self.step == self.settings.iterations:
            self._evaluate()

    def _logs(self, step: int) -> bool:
        return step % self.settings.log_every == 0 or step == self.settings.iterations

    def _train_step(self, images: Tensor, labels: Tensor) -> Losses:
        student, teacher = self._outputs(images.float())
        measure = self._logs(self.step + 1)
        losses: Losses = self.objective(student, teacher, labels, step=self.step, measure=measure)
        finite = Finite(losses.total, self.accelerator)
        self.accelerator.backward(losses.total)
        if not finite:
            self._refuse(losses, student, teacher)
        if self.settings.clip:
            learning = chain(self.model.parameters(), self.objective.parameters())
            self.accelerator.clip_grad_norm_(learning, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.lr = float(self.scheduler.get_last_lr()[0])
        self.scheduler.step()
        self.step += 1
        return losses

    def _outputs(self, images: Tensor) -> tuple[Outputs, Outputs | None]:
        self.model.train()
        student: Outputs = self.model(images, self.taps)
        if self.teacher is None:
            return student, None
        with torch.no_grad(), self.accelerator.autocast():
            return student, self.teacher(images, self.taps)

    def _refuse(self, losses: Losses, student: Outputs, teacher: Outputs | None) -> NoReturn:
        """Stop before the weights take a step that is not finite; where they are sound they are saved."""
        problems = gather_object([self._problem(losses, student, teacher)])
        if not any(of_student for _, of_student in problems):
            self._save("last")
        text = next(text for text, _ in problems if text)
        raise UserError(f"{self.run.path}: at step {self.step + 1} {text}")

    def _problem(self, losses: Losses, student: Outputs, teacher: Outputs | None) -> tuple[str, bool]:
        """What is not finite in this process's share of the batch, in words, and whether the student is."""
        saved = f"the run is saved at step {self.step}"
        for role, outputs in (("student", student), ("teacher", teacher)):
            tap, images = wrong_images(outputs)
            if not images:
                continue
            text = f"{wrong_term(losses)}: the {role}'s {tap} are not finite"
            if role == "student":
                return f"{text}; lower train.lr or the weights of the terms and start again", True
            return (
                f"{text} on {self._names(images)}; evaluate that teacher, or leave them out ({saved})",
                False,
            )
        if torch.isfinite(losses.total):
            return "", False
        return f"{wrong_term(losses)}; lower the weight of that term ({saved})", False

    def _names(self, images: list[int]) -> str:
        """The files of some images of this process's share of the batch."""
        batch, processes = self.settings.batch_size, self.accelerator.num_processes
        first = self.step * batch + self.accelerator.process_index * (batch // processes)
        return ", ".join(self.stream.name(first + image) for image in images)

    def _log(self, gradients: dict[str, Tensor]) -> None:
        means = self.window.means()  # waits for the device
        seconds, images = self.window.seconds, self.window.images
        self.window = Window()
        self.seconds += seconds
        means |= {f"{name}.gradient": float(norm) for name, norm in gradients.items()}
        pace = {"lr": self.lr, "images_per_second": round(images / seconds, 3)}
        self.journal.interval(self.step, means, pace)

    def _evaluate(self) -> None:
        self.window.pause()
        model = TorchModel(self.segmenter, None, self.accelerator.device)
        result = to_json(score(model, self.val_set), model)
        self.result = {key: value for key, value in result.items() if key not in _OF_THE_MODEL}
        self.journal.evaluation(self.step, self.result)
        miou = self.result["miou"] or 0.0
        if miou > self.best:
            self.best = miou
            self._save("best")
        self._save("last")
        self.window.go_on()

    def _save(self, name: str) -> None:
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        self.run.save_checkpoint(
            name,
            {
                "step": self.step,
                "network": self.segmenter.network.state_dict(),
                "adapters": self.adapters.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": scaler.state_dict() if scaler else {},
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state() if self._on_gpu else None,
                "window": self.window.state(),
                "seconds": self.seconds,
                "best": self.best,
                "result": self.result,
            },
        )

    def _restore(self) -> None:
        state = self.run.load_checkpoint("last")
        if state is None:
            return
        self.segmenter.network.load_state_dict(state["network"])
        self.adapters.load_state_dict(state["adapters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if self._on_gpu and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"])
        self.window = Window(**state["window"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.result = state["best"], state["result"]


class Window:
    """Means of every loss term and the time spent over one logging interval, evaluations left out.

    Sums stay on the device until the interval ends, so that a step does not wait for the numbers.
    """

    def __init__(
        self, sums: dict[str, Tensor] | None = None, steps: int = 0, images: int = 0, seconds: float = 0.0
    ) -> None:
        self._sums = sums or {}
        self._steps, self.images, self._seconds = steps, images, seconds
        self._since: float | None = None
        self.go_on()

    def go_on(self) -> None:
        self._since = time.perf_counter()

    def pause(self) -> None:
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Time spent so far, pauses left out."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def add(self, losses: Losses, images: int) -> None:
        values = {"loss": losses.total, **losses.raw}
        values |= {f"{name}.weighted": value for name, value in losses.weighted.items()}
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self.images += images

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._steps for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """What `Window(**state)` goes on from."""
        return {"sums": self._sums, "steps": self._steps, "images": self.images, "seconds": self.seconds}
