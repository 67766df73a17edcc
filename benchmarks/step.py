"""What a step of distillation costs, beside the student's step alone, and in parts.

    python benchmarks/step.py [RECIPE ...] [--batch B] [--crop H W] [--device auto] [--precision bf16] [--json FILE]

Networks of random weights on random pictures and labels that lie on the device already. The steps are those of
kd_deploy.training.learner. Medians in milliseconds of wall time, from an idle device to an idle device; the columns of
a recipe are timed in turn, round after round, and a ratio is the median of the rounds' ratios.

student: its step alone, without a teacher: forward, cross-entropy, backward, optimiser.
teacher: its forward as the guide runs it, and unfolded: the same with its batch norms left where they were.
terms: the recipe's terms, forward and backward to what they read of the student.
step: the whole. cached: the same where the teacher's cache has every view (and the system has the files in memory).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timing import describe, interleaved, positive, say, street, table, write_results

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Recipe
from kd_deploy.config.terms import Schedule
from kd_deploy.data.dataset import READERS
from kd_deploy.data.synthetic import Synthetic
from kd_deploy.distill.objective import Objective
from kd_deploy.models.segmenter import Outputs
from kd_deploy.models.weights import make
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import Assembly, make_accelerator
from kd_deploy.training.guide import Guide
from kd_deploy.training.learner import Learner

METHODS = ("kd", "cwd", "bpkd", "aicsd", "brd")
PARTS = ("student", "teacher", "unfolded", "terms", "step", "cached")
TARGETS = {"step": 1.5, "cached": 1.05}
"""What they may cost on a GPU, at most, as a multiple of the student's step alone."""


class Bench:
    """A recipe's student, teacher and objective, and a batch."""

    def __init__(self, recipe: Recipe, device: str, cache: Path) -> None:
        self.recipe, settings = recipe, recipe.train
        self.at = settings.iterations // 2  # where no schedule is at its end
        self.accelerator = make_accelerator(device, settings)
        self.device = self.accelerator.device
        reader = Synthetic if recipe.data.format == "synthetic" else READERS[recipe.data.format]
        self.classes = len(reader.classes)
        torch.manual_seed(0)
        self.teacher = make(recipe.teacher, self.classes, key="teacher")
        batch, crop = settings.batch_size, settings.crop
        self.images = torch.randint(0, 256, (batch, 3, *crop), dtype=torch.uint8).to(self.device)
        self.labels = street(batch, crop, self.classes, self.device)
        cached = recipe.teacher.model_copy(update={"cache": cache})
        self.parts: dict[str, Callable[[], object]] = {
            "student": self.step(recipe, taught=False),
            **self.forwards(),
            "step": self.step(recipe, taught=True),
            "cached": self.step(recipe.model_copy(update={"teacher": cached}), taught=True),
        }

    def assembly(self, recipe: Recipe, *, taught: bool) -> Assembly:
        student = make(recipe.student, self.classes, key="student")
        alone = recipe.supervised.model_copy(update={"weight": 1.0, "schedule": Schedule()})
        objective = Objective(
            recipe.supervised if taught else alone,
            recipe.distill if taught else [],
            iterations=recipe.train.iterations,
            student=student.taps,
            teacher=self.teacher.taps if taught else {},
        )
        none: Any = ()  # a learner reads no data set
        teacher = self.teacher if taught else None
        return Assembly(recipe, "student", none, student, teacher, objective, self.accelerator)

    def step(self, recipe: Recipe, *, taught: bool) -> Callable[[], object]:
        learner = Learner(self.assembly(recipe, taught=taught))

        def step() -> None:
            _, verdict = learner.step(
                self.images, self.labels, number=self.at, measure=False, interrupted=False
            )
            if refused := learner.refused:
                raise refused
            verdict.finite()

        return step

    def forwards(self) -> dict[str, Callable[[], object]]:
        """The teacher's pass, folded and not, and the terms on what it and the student say."""
        assembly = self.assembly(self.recipe, taught=True)
        objective = assembly.objective.to(self.device)
        unfolded = deepcopy(self.teacher)
        unfolded.folded = deepcopy(self.teacher).eval  # type: ignore[method-assign]
        guide, plain = (
            Guide(teacher, self.recipe.teacher, objective.taps, self.accelerator)
            for teacher in (self.teacher, unfolded)
        )
        if self.recipe.train.compile:
            guide.compile()
            plain.compile()
        student = self.accelerator.prepare(assembly.segmenter)
        given = _leaves(student(self.images.float(), objective.taps)), guide(self.images)
        terms = copy(objective)  # with the same adapters
        terms.parts = objective.parts[1:]

        def distilled() -> None:
            self.accelerator.backward(terms(*given, self.labels, step=self.at).total)

        return {
            "teacher": lambda: guide(self.images),
            "unfolded": lambda: plain(self.images),
            "terms": distilled,
        }

    def times(self, repeats: int) -> dict[str, list[float]]:
        """Milliseconds of every part in every round."""
        interleaved(self.parts, 2, self.device)  # warm-up; the cache is filled
        return interleaved(self.parts, repeats, self.device)


def _leaves(outputs: Outputs) -> Outputs:
    """The same outputs, cut off from their network: gradients end there."""
    taps = {name: tensor.detach().requires_grad_() for name, tensor in outputs.taps.items()}
    return Outputs(taps["logits"], taps)


def main() -> None:
    parser = make_parser()
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.recipes:
        with TemporaryDirectory() as cache:
            try:
                recipe = load_recipe(name, overrides(arguments))
                if not recipe.distill:
                    parser.error(f"{name}: has no distillation terms; name a recipe that has")
                say(f"{name}: building")
                bench = Bench(recipe, arguments.device, Path(cache))
            except UserError as error:
                parser.error(str(error))
            if not rows:
                train = recipe.train
                size = f"batch {train.batch_size}, crop {train.crop[0]}x{train.crop[1]}"
                print(
                    f"{describe(bench.device)}; {train.precision}, {size}, medians of {arguments.repeats}\n"
                )
                print(table(("recipe", *PARTS, *(f"{part} / student" for part in TARGETS)), []), flush=True)
            say(f"{name}: timing")
            samples = bench.times(arguments.repeats)
        rows.append(row := {"recipe": name, **summary(samples), "samples": samples})
        numbers = [f"{row[key]:.2f}" for key in (*PARTS, *(f"{part} / student" for part in TARGETS))]
        print(f"| {name} | {' | '.join(numbers)} |", flush=True)
    print()
    for part, target in TARGETS.items():
        found = ", ".join(f"{row[f'{part} / student']:.2f}" for row in rows)
        print(f"{part} / student alone: at most {target} on a GPU; found on {bench.device.type} {found}")
    settings = vars(arguments) | {"json": None, "device": bench.device.type}
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
    parser.add_argument("--compile", action="store_true", help="as train.compile does")
    parser.add_argument("--channels-last", action="store_true", help="as train.channels_last does")
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
        "train.compile": "true" if arguments.compile else None,
        "train.channels_last": "true" if arguments.channels_last else None,
        "teacher.encoder": arguments.teacher_encoder,
    }
    return [f"{key}={value}" for key, value in settings.items() if value is not None]


def summary(samples: dict[str, list[float]]) -> dict[str, float]:
    """Medians, and the medians of the ratios to the student's step in the same round."""
    middle = {name: median(times) for name, times in samples.items()}
    for part in TARGETS:
        pairs = zip(samples[part], samples["student"], strict=True)
        middle[f"{part} / student"] = median(time / alone for time, alone in pairs)
    return middle


if __name__ == "__main__":
    main()
