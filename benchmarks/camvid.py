"""Compare the methods on CamVid: one teacher, then the student alone and with every method, for several seeds.

    python benchmarks/camvid.py DATA -o RUNS [--jobs 2] [--minutes 10] [--write docs/results/camvid.md]
    python benchmarks/camvid.py DATA -o RUNS --size full --jobs 6 --minutes 9   # a GPU

Runs go side by side, `--jobs` at a time, on the CPU or on one GPU. The work comes in slices: after `--minutes` every
run under way is saved and the command ends; given again it goes on, and a finished run is kept. All runs of a seed
see the same frames in the same order for the same number of steps. `--write` puts the tables of `kd-deploy compare`
into a file, with machine, versions and every seed; what stands there below the line of NOTES is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timing import positive, say

from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.files import atomic_file

STUDENTS = ("deeplabv3plus-mobilenetv2", "segformer-b0")
METHODS = ("student", "kd", "bpkd", "aicsd", "brd", "best")
NOTES = "## What it says, and what not"

SCRATCH = {
    "student.weights": "none",
    "teacher.weights": "none",
    "evaluate.every": "1000000",
}  # scored at the end
SMALL = {
    "data.size": "[120, 160]",
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
}
SMALL_SEGFORMER = SMALL | {"train.lr": "1.0e-3"}
FULL = {
    "train.workers": "2",
    "train.channels_last": "true",
    "train.precision": "bf16",
}  # else as the recipes say


@dataclass(frozen=True)
class Job:
    """One training: a command, and the run that it makes."""

    run: Path
    command: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return (self.run / "summary.json").exists()

    def start(self, threads: int) -> subprocess.Popen[bytes]:
        """The command in the background, with a log beside the run; it goes on where it was stopped."""
        resume = ["--resume"] if self.run.exists() else []
        environ = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with self.run.with_name(f"{self.run.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "kd_deploy", *self.command, *resume]
            return subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)


def main() -> None:
    arguments = parse()
    arguments.output.mkdir(parents=True, exist_ok=True)
    students = [job for student in arguments.students for job in jobs(arguments, student)]
    ends = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    teacher = teacher_job(arguments)
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    left = work([teacher], 1, os.cpu_count() or 1, ends) or work(students, arguments.jobs, threads, ends)
    if arguments.write and teacher.finished:
        write(arguments, teacher.run, [job.run for job in students if job.finished])
    if left:
        say(f"{left} runs are not finished; give the same command again")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=STUDENTS[:1])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", choices=["small", "full"], default="small", help="small: for a CPU")
    parser.add_argument("--iterations", type=positive, default=250)
    parser.add_argument("--teacher-iterations", type=positive, default=700)
    parser.add_argument("--jobs", type=positive, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="save everything and end after so long")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the result as markdown")
    return parser.parse_args()


def teacher_job(arguments: argparse.Namespace) -> Job:
    settings = overrides(arguments, STUDENTS[0], arguments.teacher_iterations)
    run = arguments.output / "teacher"
    recipe = f"camvid/{STUDENTS[0]}-student"
    return Job(run, ("train", recipe, "--role", "teacher", "--seed", "0", "-o", str(run), *settings))


def jobs(arguments: argparse.Namespace, student: str) -> Iterator[Job]:
    """Every method with every seed, seed by seed."""
    settings = overrides(arguments, student, arguments.iterations)
    for seed in arguments.seeds:
        for method in arguments.methods:
            run = arguments.output / f"{student}-{method}-{seed}"
            alone = ("train", "--role", "student")
            taught = ("distill", "--teacher", str(arguments.output / "teacher"))
            verb, *options = alone if method == "student" else taught
            recipe = f"camvid/{student}-{method}"
            yield Job(run, (verb, recipe, *options, "--seed", str(seed), "-o", str(run), *settings))


def overrides(arguments: argparse.Namespace, student: str, iterations: int) -> list[str]:
    of_size = FULL if arguments.size == "full" else SMALL if student == STUDENTS[0] else SMALL_SEGFORMER
    settings = SCRATCH | of_size
    settings |= {"data.root": str(arguments.data.resolve()), "train.iterations": str(iterations)}
    if arguments.size == "full":  # one teacher for both students
        settings |= {"teacher.arch": "deeplabv3plus", "teacher.encoder": "resnet101"}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def work(todo: list[Job], side_by_side: int, threads: int, ends: float) -> int:
    """Run the jobs, some at a time, until `ends`; returns how many are not finished.

    Raises:
        SystemExit: a run failed; its last line says why.
    """
    waiting = [job for job in todo if not job.finished]
    running: dict[Job, subprocess.Popen[bytes]] = {}
    try:
        while (waiting or running) and time.monotonic() < ends:
            while waiting and len(running) < side_by_side:
                job = waiting.pop(0)
                say(f"{job.run.name}: started")
                running[job] = job.start(threads)
            time.sleep(1)
            for job in [job for job, process in running.items() if process.poll() is not None]:
                _check(job, running.pop(job).returncode)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGINT)  # it saves
        for process in running.values():
            process.wait()
    return sum(not job.finished for job in todo)


def _check(job: Job, code: int) -> None:
    if code:
        log = job.run.with_name(f"{job.run.name}.log")
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise SystemExit(f"{job.run.name}: ended with {code}: {''.join(last)} (see {log})")
    say(f"{job.run.name}: mIoU {_summary(job.run)['miou']:.2f}")


def write(arguments: argparse.Namespace, teacher: Path, runs: list[Path]) -> None:
    """The tables, above the notes that are there already."""
    summary = _summary(teacher)
    parts = [
        "# The methods on CamVid",
        f"`python benchmarks/camvid.py` on CamVid's real frames (SegNet's split: 367 train, 101 val), "
        f"{environment()['date'][:10]}. Random initial weights: no pretrained ones can be had where it ran. Size: "
        f"`{arguments.size}`; {arguments.jobs} runs side by side, so that times are those of a shared machine.",
        _settings(arguments),
        _machine([_summary(run) for run in (teacher, *runs)]),
        f"Teacher: mIoU {summary['miou']:.2f}, boundary IoU {summary['boundary_iou']:.2f}, "
        f"{summary['iterations']} iterations.",
    ]
    for student in arguments.students:
        of_student = [run for run in runs if run.name.startswith(student)]
        if of_student:
            parts += [f"## {student}", _compared([teacher, *of_student])]
    old = arguments.write.read_text(encoding="utf-8") if arguments.write.exists() else ""
    parts.append(old[old.index(NOTES) :].strip() if NOTES in old else NOTES)
    with atomic_file(arguments.write) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    say(f"{arguments.write}: written")


def _settings(arguments: argparse.Namespace) -> str:
    changed = FULL if arguments.size == "full" else SMALL
    lines = [f"{key}: {value}" for key, value in (SCRATCH | changed).items()]
    if arguments.size == "small" and STUDENTS[1] in arguments.students:
        lines.append(f"train.lr: {SMALL_SEGFORMER['train.lr']}  # of {STUDENTS[1]}")
    return "\n".join(["What differs from the recipes:", "", "```yaml", *lines, "```"])


def _machine(summaries: list[dict[str, Any]]) -> str:
    devices = sorted({summary["device"] for summary in summaries})
    commits = sorted({str(summary["commit"]) for summary in summaries})
    versions = ", ".join(f"{name} {version}" for name, version in summaries[0]["versions"].items())
    cores = os.cpu_count()
    return (
        f"Machine: {', '.join(devices)}, {cores} cores. Versions: {versions}. Commit: {', '.join(commits)}."
    )


def _compared(runs: list[Path]) -> str:
    command = [sys.executable, "-m", "kd_deploy", "compare", "--markdown", "--seeds", *map(str, runs)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    return summary


if __name__ == "__main__":
    main()
