"""What a step of distillation costs, in parts, and beside what cannot be saved: student and teacher.

    python benchmarks/step.py [RECIPE ...] [--batch B] [--crop H W] [--device auto] [--precision bf16] [--json FILE]

Networks of random weights on random pictures and labels that lie on the device already; the calls are those of a step
of kd_deploy.training.trainer that logs nothing. Medians in milliseconds of wall time, from an idle device to an idle
device; the parts of a recipe are timed in turn, round after round:

student: its forward and backward with cross-entropy alone.
teacher: its forward.
terms: the recipe's terms, forward and backward to what they read of the student.
optimiser: its step, and that of the learning rate.
student + teacher: both of the above in one go, the way a step has them.
step: the whole. overhead: what it costs more than student + teacher, in percent.

Parts by themselves wait for the device in between, and a whole step does not: on a GPU they may add up to more.
"""

from __future__ import annotations

import argparse
from copy import copy
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import torch
from timing import describe, interleaved, positive, say, street, table, write_results
from torch import Tensor, nn

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Recipe
from kd_deploy.data.dataset import READERS
from kd_deploy.data.synthetic import Synthetic
from kd_deploy.distill.objective import Objective
from kd_deploy.distill.supervised import cross_entropy
from kd_deploy.models.segmenter import Outputs
from kd_deploy.models.weights import make
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import make_accelerator
from kd_deploy.training.optim import make_optimizer, make_scheduler
from kd_deploy.training.verdict import Verdict

METHODS = ("kd", "cwd", "bpkd", "aicsd", "brd")
TARGET = 5
"""Percent of overhead, at most, on a GPU."""
HEAD = ("recipe", "student", "teacher", "terms", "optimiser", "student + teacher", "step", "overhead")


class Step:
    """A recipe's student, teacher and objective, and a batch: what the trainer does with them, in parts."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        self.settings = recipe.train
        self.at = self.settings.iterations // 2  # where no schedule is at its end
        self.accelerator = make_accelerator(device, self.settings)
        self.device = self.accelerator.device
        reader = Synthetic if recipe.data.format == "synthetic" else READERS[recipe.data.format]
        classes = len(reader.classes)
        torch.manual_seed(0)
        student = make(recipe.student, classes, key="student").to(self.device)
        self.teacher = make(recipe.teacher, classes, key="teacher").to(self.device).eval()
        self.teacher.requires_grad_(False)
        taps = {"student": student.taps, "teacher": self.teacher.taps}
        objective = Objective(recipe.supervised, recipe.distill, iterations=self.settings.iterations, **taps)
        terms = copy(objective)  # with the same adapters
        terms.parts = objective.parts[1:]
        self.taps = objective.taps
        optimizer = make_optimizer(self.settings, student, objective.adapters.to(self.device))
        self.model, self.optimizer = self.accelerator.prepare(student, optimizer)
        self.objective: nn.Module = objective
        self.terms: nn.Module = terms
        if len(objective.adapters):
            self.objective, self.terms = (self.accelerator.prepare(module) for module in (objective, terms))
        self.scheduler = make_scheduler(optimizer, self.settings)
        batch, crop = self.settings.batch_size, self.settings.crop
        self.images = torch.randint(0, 256, (batch, 3, *crop), dtype=torch.uint8).to(self.device)
        self.labels = street(batch, crop, classes, self.device)
        self.given = _leaves(self.of_student()), self.of_teacher()

    def of_student(self) -> Outputs:
        self.model.train()
        outputs: Outputs = self.model(self.images.float(), self.taps)
        return outputs

    def of_teacher(self) -> Outputs:
        with torch.no_grad(), self.accelerator.autocast():
            outputs: Outputs = self.teacher(self.images.float(), self.taps)
        return outputs

    def supervised(self) -> None:
        self.optimizer.zero_grad()
        self._backward(cross_entropy(self.of_student().logits, self.labels))

    def networks(self) -> None:
        self.optimizer.zero_grad()
        student = self.of_student()
        self.of_teacher()
        self._backward(cross_entropy(student.logits, self.labels))

    def distilled(self) -> None:
        self._backward(self.terms(*self.given, self.labels, step=self.at).total)

    def learn(self) -> None:
        if self.settings.clip:
            learning = chain(self.model.parameters(), self.objective.parameters())
            self.accelerator.clip_grad_norm_(learning, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()

    def whole(self) -> None:
        losses = self.objective(self.of_student(), self.of_teacher(), self.labels, step=self.at)
        verdict = Verdict(losses.total, False, self.accelerator)
        self._backward(losses.total)
        if not verdict.finite():
            raise SystemExit("a loss is not finite, which would change the times")
        self.learn()

    def _backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def times(self, repeats: int) -> dict[str, list[float]]:
        """Milliseconds of every part; the optimiser steps with the gradients of the turns before."""
        parts = {
            "student": self.supervised,
            "teacher": self.of_teacher,
            "terms": self.distilled,
            "optimiser": self.learn,
            "student + teacher": self.networks,
            "step": self.whole,
        }
        interleaved(parts, 2, self.device)  # warm-up
        return interleaved(parts, repeats, self.device)


def _leaves(outputs: Outputs) -> Outputs:
    """The same outputs, cut off from their network: gradients end there."""
    taps = {name: tensor.detach().requires_grad_() for name, tensor in outputs.taps.items()}
    return Outputs(taps["logits"], taps)


def main() -> None:
    parser = make_parser()
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.recipes:
        try:
            recipe = load_recipe(name, overrides(arguments))
            if not recipe.distill:
                parser.error(f"{name}: has no distillation terms; name a recipe that has")
            say(f"{name}: building")
            step = Step(recipe, arguments.device)
        except UserError as error:
            parser.error(str(error))
        if not rows:
            train = recipe.train
            crop = f"{train.crop[0]}x{train.crop[1]}"
            print(
                f"{describe(step.device)}; {train.precision}, batch {train.batch_size}, crop {crop}, ", end=""
            )
            print(f"medians of {arguments.repeats}\n\n{table(HEAD, [])}", flush=True)
        say(f"{name}: timing")
        samples = step.times(arguments.repeats)
        rows.append(row := {"recipe": name, **summary(samples), "samples": samples})
        numbers = [f"{row[key]:.2f}" for key in HEAD[1:-1]]
        print(f"| {name} | {' | '.join(numbers)} | {row['overhead']:+.1f} % |", flush=True)
    found = ", ".join(f"{row['overhead']:+.1f} % ({row['recipe']})" for row in rows)
    print(
        f"\nexpected on a GPU at most {TARGET} % more than student forward and backward plus teacher ", end=""
    )
    print(f"forward; found on {step.device.type} {found}")
    settings = vars(arguments) | {"json": None, "device": step.device.type}
    write_results(arguments.json, {"settings": settings, "rows": rows})


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [f"camvid/deeplabv3plus-mobilenetv2-{method}" for method in METHODS]
    parser.add_argument("recipes", nargs="*", default=usual, metavar="RECIPE")
    parser.add_argument("--batch", type=int, help="pictures; absent: the recipe's")
    parser.add_argument("--crop", type=int, nargs=2, metavar=("H", "W"), help="absent: the recipe's")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--teacher-encoder", help="a smaller one than the recipe's, for a CPU: resnet18")
    parser.add_argument("--repeats", type=positive, default=20)
    parser.add_argument("--json", type=Path, help="a file for every sample")
    return parser


def overrides(arguments: argparse.Namespace) -> list[str]:
    """The recipe's settings that the benchmark changes."""
    settings = {
        "student.weights": "none",
        "teacher.weights": "none",
        "train.lr": "1.0e-6",  # the same batch again and again, and no loss may overflow
        "train.precision": arguments.precision,
        "train.batch_size": arguments.batch,
        "train.crop": arguments.crop,
        "teacher.encoder": arguments.teacher_encoder,
    }
    return [f"{key}={value}" for key, value in settings.items() if value is not None]


def summary(samples: dict[str, list[float]]) -> dict[str, float]:
    """Medians, and the percentage that a step takes more than the networks."""
    middle = {name: median(times) for name, times in samples.items()}
    return middle | {"overhead": 100 * (middle["step"] / middle["student + teacher"] - 1)}


if __name__ == "__main__":
    main()
