"""Compare the methods on CamVid, from random weights, at a size that a CPU can train.

    python benchmarks/camvid.py DATA -o RUNS --seeds 0 1 2

trains one teacher, then the student alone and with each method for every seed, and prints the table as markdown. A
finished run is kept and an unfinished one goes on, so the command may be stopped at any time and given again.
Every run sees the same frames in the same order for the same number of steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

from kd_deploy.config.load import load_recipe
from kd_deploy.run import Run
from kd_deploy.training.train import distill, train

SMALL = {
    "data.size": "[120, 160]",
    "student.weights": "none",
    "teacher.weights": "none",
    "teacher.arch": "deeplabv3plus",
    "teacher.encoder": "resnet18",
    "train.crop": "[96, 128]",
    "train.batch_size": "8",
    "train.optimizer": "{name: adamw, weight_decay: 0.01}",
    "train.lr": "2.0e-3",
    "train.head_lr": "1",
    "train.lr_schedule": "{kind: poly, power: 0.9, warmup: 20}",
    "train.workers": "0",
    "train.log_every": "50",
    "evaluate.every": "1000000",  # once, at the end
}


def main() -> None:
    arguments = parse()
    small = {**SMALL, "data.root": str(arguments.data.resolve())}
    teacher = arguments.output / "teacher"
    first = f"camvid/{arguments.student}-{arguments.methods[0]}"
    once(teacher, first, small | {"train.iterations": str(arguments.teacher_iterations)}, None, "teacher", 0)
    for seed in arguments.seeds:
        for method in arguments.methods:
            run = arguments.output / f"{arguments.student}-{method}-{seed}"
            settings = small | {"train.iterations": str(arguments.iterations)} | dict(arguments.set)
            once(run, f"camvid/{arguments.student}-{method}", settings, teacher, "student", seed)
            print(table(arguments.output, arguments.student, arguments.methods), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--student", default="deeplabv3plus-mobilenetv2")
    parser.add_argument(
        "--methods", nargs="+", default=["student", "kd", "cwd", "bpkd", "aicsd", "brd", "best"]
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--teacher-iterations", type=int, default=600)
    parser.add_argument("--set", nargs="*", default=[], type=lambda text: tuple(text.split("=", 1)))
    return parser.parse_args()


def once(
    path: Path, name: str, settings: dict[str, str], teacher: Path | None, role: str, seed: int
) -> dict[str, Any]:
    """Train the run, or go on with it; where it is finished nothing is done."""
    if (path / "summary.json").exists():
        return Run.open(path).summary()
    recipe = load_recipe(name, [f"{key}={value}" for key, value in settings.items()]).seeded(seed)
    resume = path.exists()
    if teacher is None or not recipe.distill:
        return train(recipe, role, path, resume=resume)
    return distill(recipe, path, teacher=str(teacher), resume=resume)


def table(output: Path, student: str, methods: list[str]) -> str:
    """Mean and seeds of every method whose runs are there."""
    teacher = Run.open(output / "teacher").summary()
    lines = [
        f"teacher: mIoU {teacher['miou']:.2f}, {teacher['iterations']} iterations",
        "",
        "| method | mIoU, mean | every seed | boundary IoU, mean | s/step |",
        "|---|---|---|---|---|",
    ]
    for method in methods:
        files = sorted(output.glob(f"{student}-{method}-[0-9]/summary.json"))
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        if runs:
            every = ", ".join(f"{run['miou']:.2f}" for run in runs)
            miou, edge, step = (
                mean(r[key] for r in runs) for key in ("miou", "boundary_iou", "seconds_per_step")
            )
            lines.append(f"| {method} | {miou:.2f} | {every} | {edge:.2f} | {step:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
