"""The training loop: one network, one objective, a frozen teacher where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from accelerate.utils import gather_object
from torch import Tensor

from kd_deploy.data.stream import Batch, Stream, loader
from kd_deploy.distill.objective import Losses
from kd_deploy.evaluate import count, to_json
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.metrics import Score
from kd_deploy.signals import Interrupt
from kd_deploy.training.assemble import Assembly
from kd_deploy.training.journal import Journal
from kd_deploy.training.learner import Learner
from kd_deploy.training.verdict import NotFiniteError, end, explain, in_main_process
from kd_deploy.training.window import Window

_OF_THE_MODEL = ("views", "backend", "precision", "device", "versions")
"""What `evaluate --json` says beside the scores; a run says it once, in its recipe and its summary."""


class Trainer:
    """Trains an assembly's network for a run, from its last checkpoint where there is one.

    Attributes:
        step: iterations done, over all sittings of the run.
        seconds: time spent in them.
        result: the scores of the last evaluation, as `evaluate --json` prints them.
    """

    def __init__(self, run: Run, assembly: Assembly) -> None:
        self.run, self.settings, self.accelerator = run, assembly.settings, assembly.accelerator
        self.train_set, self.val_set = assembly.datasets
        self.learner = Learner(assembly)
        self.window = Window()
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        self.lr = 0.0  # of the last step
        self.result: dict[str, Any] = {}
        self._unreadable: UserError | None = None
        self._restore()
        self.interrupt = Interrupt()
        self.stream = Stream(self.train_set, self.settings, raw=self.accelerator.device.type == "cuda")
        self.journal = Journal(run, self.step, self.accelerator)

    def fit(self) -> None:
        """Train to the last iteration; several processes share every batch.

        Raises:
            UserError: the disk refuses, a frame cannot be read, or a loss is not finite.
            KeyboardInterrupt: Ctrl-C, once the step under way (with several processes, the next) is done and saved.
        """
        with self.journal, self.interrupt:
            for images, labels in self._batches():
                self._timed_step(images, labels)
                alone = self.accelerator.num_processes == 1
                if self._asked_to_stop() if alone else self.verdict.interrupted():
                    self._stop()

    def _batches(self) -> Iterator[Batch]:
        """The batches that are left, on the device; the window counts the time until each is there."""
        prepared = self.accelerator.prepare(
            loader(self.stream, self.settings, start=self.step, pin=self.stream.raw)
        )
        batches = map(self.stream.batch, prepared)
        while True:
            since = time.perf_counter()
            try:
                batch = next(batches, None)
            except UserError as error:
                self._unreadable, batch = error, self._blank()
            if batch is None:
                return
            self.window.waited += time.perf_counter() - since
            yield batch

    def _blank(self) -> Batch:
        """What goes through a step in the place of a batch that cannot be read: all processes refuse it together."""
        share, crop = self.settings.batch_size // self.accelerator.num_processes, self.settings.crop
        images = torch.zeros(share, 3, *crop, dtype=torch.uint8, device=self.accelerator.device)
        return images, torch.zeros_like(images[:, 0])

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
        self.lr = self.learner.lr
        try:
            losses, self.verdict = self.learner.step(
                images,
                labels,
                number=self.step,
                measure=self._logs(self.step + 1),
                interrupted=self._asked_to_stop(),
                blank=self._unreadable is not None,
            )
        except NotFiniteError as error:
            self._refuse(error)
        self.step += 1
        return losses

    def _asked_to_stop(self) -> bool:
        return self.interrupt.asked or self.learner.refused is not None

    def _stop(self) -> NoReturn:
        """Save, and end as this process or another one was asked to: by Ctrl-C, or by the disk of the cache."""
        self._save("last")
        for refused in gather_object([self.learner.refused]):
            if refused:
                end(self.accelerator, refused)
        raise KeyboardInterrupt

    def _refuse(self, error: NotFiniteError) -> NoReturn:
        """Stop before the weights take a step that is not finite or has no batch; where they are sound, save."""
        problems = gather_object([self._problem(error)])
        if not any(of_student for _, of_student in problems):
            self._save("last")
        text = next(text for text, _ in problems if text)
        end(self.accelerator, UserError(f"{self.run.path}: at step {self.step + 1} {text}"))

    def _problem(self, error: NotFiniteError) -> tuple[str, bool]:
        """What is not finite in this process's share of the batch, in words, and whether the student is."""
        saved = f" (the run is saved at step {self.step})"
        if self._unreadable:
            return f"{self._unreadable}{saved}", False
        batch, processes = self.settings.batch_size, self.accelerator.num_processes
        first = self.step * batch + self.accelerator.process_index * (batch // processes)
        text, of_student = explain(error, self.stream, first)
        if text and not of_student:
            text += saved
        return text, of_student

    def _log(self, gradients: dict[str, Tensor]) -> None:
        means = self._of_all(self.window.means())  # waits for the device
        seconds, images, waited = self.window.seconds, self.window.images, self.window.waited
        self.window = Window()
        self.seconds += seconds
        # Each process has its share of the logits' gradient, for a loss that is the mean of all.
        squares = self._of_all({name: norm.square() for name, norm in gradients.items()})
        processes = self.accelerator.num_processes
        means |= {f"{name}.gradient": (square / processes) ** 0.5 for name, square in squares.items()}
        pace = {
            "lr": self.lr,
            "images_per_second": round(images / seconds, 3),
            "waiting_for_data": round(waited / seconds, 4),
        }
        self.journal.interval(self.step, means, pace)

    def _of_all(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The means over all processes."""
        if not values:
            return {}
        means: Tensor = self.accelerator.reduce(
            torch.stack([v.detach().float() for v in values.values()]).to(self.accelerator.device), "mean"
        )
        return dict(zip(values, means.tolist(), strict=True))

    def _evaluate(self) -> None:
        self.window.pause()
        model = TorchModel(self.learner.scored, None, self.accelerator.device, self.run.recipe.evaluate)
        share = count(model, self.val_set, self.accelerator.process_index, self.accelerator.num_processes)
        counts = self.accelerator.reduce(torch.from_numpy(share.counts()).to(self.accelerator.device), "sum")
        result = to_json(Score.from_counts(share.class_names, counts.cpu().numpy()).result(), model)
        self.result = {key: value for key, value in result.items() if key not in _OF_THE_MODEL}
        self.journal.evaluation(self.step, self.result)
        miou = self.result["miou"] or 0.0
        if miou > self.best:
            self.best = miou
            self._save("best")
        self._save("last")
        self.window.go_on()

    def _save(self, name: str) -> None:
        self.window.share(self._of_all)
        in_main_process(self.accelerator, lambda: self._write(name))

    def _write(self, name: str) -> None:
        if not self.learner.sound():
            raise UserError(
                f"{self.run.path}: after step {self.step} the weights are not finite, though the losses were; the last "
                "checkpoint stays; lower train.lr or set train.clip and start again"
            )
        own = {
            "step": self.step,
            "window": self.window.state(),
            "seconds": self.seconds,
            "best": self.best,
            "result": self.result,
        }
        self.run.save_checkpoint(name, own | self.learner.state())

    def _restore(self) -> None:
        state = self.run.load_checkpoint("last")
        if state is None:
            return
        self.learner.load_state(state)
        self.window = Window(**state["window"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.result = state["best"], state["result"]
