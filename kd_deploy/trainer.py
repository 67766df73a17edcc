"""The training loop: one network, one objective, a frozen teacher where there is one."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from kd_deploy.data.dataset import Dataset
from kd_deploy.data.stream import Stream, loader
from kd_deploy.distill.objective import Losses, Objective
from kd_deploy.evaluate import score, to_json
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.journal import Journal
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.optim import make_optimizer, make_scheduler
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.signals import Interrupt

_OF_THE_MODEL = ("backend", "precision", "device", "versions")
"""What `evaluate --json` says beside the scores; a run says it once, in its summary."""


class Trainer:
    """Trains `segmenter` for a run, from its last checkpoint where there is one.

    `datasets` are train and val, `sizes` the height and width of their frames. The teacher is put into eval
    mode and runs under no_grad; nothing of it is optimised or saved.

    Attributes:
        step: iterations done, over all sittings of the run.
        seconds: time spent in them.
        result: the scores of the last evaluation, as `evaluate --json` prints them.
    """

    def __init__(
        self,
        run: Run,
        segmenter: Segmenter,
        objective: Objective,
        teacher: Segmenter | None,
        datasets: tuple[Dataset, Dataset],
        sizes: tuple[tuple[int, int], tuple[int, int]],
        accelerator: Accelerator,
    ) -> None:
        self.run, self.settings, self.accelerator = run, run.train, accelerator
        self.objective = objective
        self.train_set, self.val_set = datasets
        self.train_size, self.val_size = sizes
        self._on_gpu = accelerator.device.type == "cuda"
        self.teacher = teacher.to(accelerator.device).eval().requires_grad_(False) if teacher else None
        self.segmenter = segmenter.to(accelerator.device)
        optimizer = make_optimizer(self.settings, segmenter)
        self.model, self.optimizer = accelerator.prepare(self.segmenter, optimizer)
        self.scheduler = make_scheduler(optimizer, self.settings)
        self.window = Window()
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        self.lr = 0.0  # of the last step
        self.result: dict[str, Any] = {}
        self._restore()
        self.journal = Journal(run, self.step, silent=not accelerator.is_main_process)

    def fit(self) -> None:
        """Train to the last iteration; several processes share every batch.

        Raises:
            UserError: the disk refuses, or a loss is not finite.
            KeyboardInterrupt: Ctrl-C, once the step under way is done and saved.
        """
        stream = Stream(self.train_set, self.settings, self.train_size)
        batches = self.accelerator.prepare(loader(stream, self.settings, start=self.step))
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
        last = self.step == self.settings.iterations
        if self.step % self.settings.log_every == 0 or last:
            self._log()
        if self.step % self.run.recipe.evaluate.every == 0 or last:
            self._evaluate()

    def _train_step(self, images: Tensor, labels: Tensor) -> Losses:
        self.model.train()
        images = images.float()
        student = self.model(images)
        with torch.no_grad(), self.accelerator.autocast():
            teacher = self.teacher(images) if self.teacher else None
        losses = self.objective(student, teacher, labels, progress=self.step / self.settings.iterations)
        self.accelerator.backward(losses.total)
        if self.settings.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.lr = float(self.scheduler.get_last_lr()[0])
        self.scheduler.step()
        self.step += 1
        return losses

    def _log(self) -> None:
        means = self.window.means()  # waits for the device
        seconds, images = self.window.seconds, self.window.images
        self.window = Window()
        self.seconds += seconds
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise UserError(
                    f"{self.run.path}: at step {self.step} the loss term {name} is {mean}; lower "
                    "train.lr or the term's weight and start again"
                )
        pace = {"lr": self.lr, "images_per_second": round(images / seconds, 3)}
        self.journal.interval(self.step, means, pace)

    def _evaluate(self) -> None:
        self.window.pause()
        model = TorchModel(self.segmenter, self.val_size, self.accelerator.device)
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
