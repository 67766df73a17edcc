"""A run that is killed again and again ends as the run without a break, and leaves no litter."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from kd_deploy.run import Run
from kd_deploy.runtime.files import is_temporary
from tests.kd_deploy.training.test_train import distillation, launch

SEED = "KD_DEPLOY_KILL_SEED"
"""The environment variable that repeats a test's kills."""

KILLS = int(os.environ.get("KD_DEPLOY_KILLS", "2"))
"""How many come at a random moment, and how many at a random byte of a file."""

RECIPE = [
    "student={arch: linknet, encoder: tu-mobilenetv3_small_050, weights: none}",
    "distill=[{method: mgd, weight: 1.0e-5, taps: [stage1]}]",  # an adapter, and a random mask at every step
    "train.iterations=8",
    "train.batch_size=4",
    "train.crop=[32, 32]",
    "train.accumulate=2",
    "train.ema=0.9",
    "train.keep=best",
    "train.log_every=3",
    "evaluate.every=1",
]

KILLED = (-signal.SIGKILL, -signal.SIGXFSZ)
"""The exit codes of the two."""

TIMES = {
    "seconds",
    "seconds_per_step",
    "waited",
    "images_per_second",
    "waiting_for_data",
    "peak_memory_bytes",
}
"""What a record, a checkpoint or a summary says of the clock and of the machine."""


@dataclass(frozen=True)
class Command:
    """`kd-deploy distill` in processes forked from one that has imported torch."""

    recipe: Path
    teacher: Path

    def start(self, run: Path, end: Callable[[], None] | None = None) -> BaseProcess:
        """Go on with the run in a process of its own, which `end` prepares for its end."""
        words = [word for text in RECIPE for word in ("--set", text)]
        arguments = [
            "distill",
            self.recipe,
            "--teacher",
            self.teacher,
            "-o",
            run,
            "--device",
            "cpu",
            "--resume",
        ]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["kd_deploy.training.train", __name__])
        process = context.Process(target=_work, args=([*map(str, arguments), *words], end))
        process.start()
        return process

    def finish(self, run: Path) -> Path:
        process = self.start(run)
        process.join()
        assert process.exitcode == 0
        return run


def _work(arguments: list[str], end: Callable[[], None] | None) -> None:
    from kd_deploy.cli import run

    torch.set_num_threads(1)
    if end:
        end()
    sys.exit(run(arguments))


def at_byte(number: int) -> None:
    """The kernel ends this process where a file of its own would grow beyond that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))


def before_rename(name: str) -> None:
    """This process ends with a file that is whole and has not its final name yet."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and Path(arguments[1]).name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


@pytest.fixture(scope="module")
def command(recipe: Path, teacher_run: Path) -> Command:
    return Command(recipe, teacher_run)


@dataclass(frozen=True)
class Unbroken:
    run: Path
    seconds: float


@pytest.fixture(scope="module")
def unbroken(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Read only: the run without a break, and how long it took."""
    folder = tmp_path_factory.mktemp("unbroken")
    process = command.start(folder / "warm")  # the server imports torch
    process.kill()
    process.join()
    began = time.monotonic()
    return Unbroken(command.finish(folder / "run"), time.monotonic() - began)


@pytest.fixture
def dice() -> random.Random:
    seed = os.environ.get(SEED) or os.urandom(4).hex()
    print(f"repeat with {SEED}={seed}")  # pytest shows it where the test fails
    return random.Random(seed)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(x) for key, x in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [without_times(x) for x in value]
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def records(run: Path) -> list[Any]:
    return [without_times(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars by tag."""
    read = EventAccumulator(str(run))
    read.Reload()
    tags = (tag for tag in read.Tags()["scalars"] if tag.rpartition("/")[2] not in TIMES)
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in tags}


def check_the_same(run: Path, unbroken: Path) -> None:
    assert records(run) == records(unbroken)
    assert events(run) == events(unbroken)
    for name in ("last", "best"):
        ends = (without_times(Run.open(path).load_checkpoint(name)) for path in (run, unbroken))
        assert same(*ends), name
    assert same(*(load_file(path / "student.safetensors") for path in (run, unbroken)))
    assert same(*(without_times(Run.open(path).summary()) for path in (run, unbroken)))
    assert temporaries(run) == []


def temporaries(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if is_temporary(path)]


def check_whole(run: Path) -> None:
    """Whatever stands under its final name can be read."""
    if (run / "run.json").exists():
        opened = Run.open(run)
        for name in ("last", "best"):
            opened.load_checkpoint(name)
        if opened.weights.exists():
            load_file(opened.weights)
        if opened.finished:
            opened.summary()


def test_a_run_killed_at_random_is_the_run_without_a_break(
    command: Command, unbroken: Unbroken, dice: random.Random, tmp_path: Path
) -> None:
    run, size = tmp_path / "run", (unbroken.run / "checkpoints" / "last.pt").stat().st_size
    ends: list[int | None] = []
    while min(map(ends.count, KILLED)) < KILLS:
        if (run / "summary.json").exists():  # killed too late: begin another
            check_the_same(run, unbroken.run)
            shutil.rmtree(run)
        if len(ends) % 2:
            process = command.start(run)
            process.join(dice.uniform(0, unbroken.seconds))
            process.kill()
        else:  # inside the first checkpoint that this sitting writes
            process = command.start(run, partial(at_byte, dice.randrange(size // 100, size)))
        process.join()
        ends.append(process.exitcode)
        assert process.exitcode in (0, *KILLED)
        assert temporaries(run) or process.exitcode != KILLED[1]
        check_whole(run)
    check_the_same(command.finish(run), unbroken.run)


def test_a_run_killed_before_each_of_its_files_is_there(
    command: Command, unbroken: Unbroken, tmp_path: Path
) -> None:
    """From the folder's creation to the summary, with the first checkpoint and the weights between."""
    run = tmp_path / "run"
    there = ["recipe.yaml", "run.json", "metrics.jsonl", "best.pt", "last.pt"]
    for name in [*there, "student.safetensors", "summary.json"]:
        process = command.start(run, partial(before_rename, name))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        (left,) = temporaries(run)
        assert left.suffix == Path(name).suffix
        check_whole(run)
    assert (run / "student.safetensors").exists()
    check_the_same(command.finish(run), unbroken.run)


def two_processes(command: Command, run: Path, *words: str, shell: str = "") -> subprocess.Popen[str]:
    """torchrun, in a shell where `shell` was said before."""
    overrides = [*RECIPE, "train.batch_size=8", "evaluate.every=2"]
    arguments = distillation(command.recipe, command.teacher, run, overrides)
    words = ("sh", "-c", f'{shell} exec "$0" "$@"', *launch(2, *arguments, *words))
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def rank(process: int) -> str | None:
    """torchrun's number of a process."""
    try:
        environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile
        return None
    return next((word[5:].decode() for word in environment if word.startswith(b"RANK=")), None)


def children(process: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux says which process is which")
def test_two_processes_of_which_one_meets_a_full_disk_and_then_one_is_killed(
    command: Command, tmp_path: Path
) -> None:
    """Neither leaves the other process waiting, and the run ends as the one without a break."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    unbroken = two_processes(command, whole)
    full = two_processes(command, run, shell="ulimit -f 2000;")  # 1 MB: the logs, and no checkpoint
    _, errors = full.communicate(timeout=300)
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert said == [
        f"error: {run / 'checkpoints' / 'best.pt'}: cannot be written (File too large); free space or choose another "
        "place"
    ]
    assert full.returncode == 1
    assert "[rank" not in errors  # no traceback of a process that waits for the other
    resumed = two_processes(command, run, "--resume")
    while not (run / "checkpoints" / "last.pt").exists():  # with two steps of a logging interval of three
        assert resumed.poll() is None
        time.sleep(0.001)
    (other,) = (child for child in children(resumed.pid) if rank(child) == "1")
    os.kill(other, signal.SIGKILL)
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 1, errors
    check_whole(run)
    assert not Run.open(run).finished
    last = two_processes(command, run, "--resume")
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    _, errors = unbroken.communicate(timeout=300)
    assert unbroken.returncode == 0, errors
    check_the_same(run, whole)
