"""What `train` and `distill` refuse before they begin, what they begin with, and what a summary says."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import PartialState

from kd_deploy.config.load import load_recipe
from kd_deploy.config.schema import Train
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.models.segmenter import build
from kd_deploy.run import Run
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.training import summary as module
from kd_deploy.training.assemble import make_accelerator
from kd_deploy.training.train import distill, train
from tests.conftest import write_camvid


def test_a_teacher_that_was_never_trained(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^teacher: has never seen this data set; pass --teacher RUN"):
        distill(load_recipe(str(recipe)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_terms(recipe: Path, teacher_run: Path, tmp_path: Path) -> None:
    loaded = load_recipe(str(recipe), ["distill=[]"])
    with pytest.raises(UserError, match=r"^distill: the recipe lists no terms; kd-deploy train RECIPE"):
        distill(loaded, tmp_path / "run", teacher=str(teacher_run))


def test_a_teacher_of_other_classes(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "teacher.pt"
    torch.save(build("deeplabv3plus", "resnet18", 19).network.state_dict(), file)
    with pytest.raises(UserError, match=rf"^{file}: the teacher has 19 classes, the data set 11; "):
        distill(load_recipe(str(recipe)), tmp_path / "run", teacher=str(file))
    assert not (tmp_path / "run").exists()


def test_the_recipe_may_name_the_teacher(recipe: Path, teacher_run: Path, tmp_path: Path) -> None:
    loaded = load_recipe(
        str(recipe), [f"teacher.weights={teacher_run}", "train.iterations=1", "evaluate.every=1"]
    )
    summary = distill(loaded, tmp_path / "run", device="cpu")
    assert summary["teacher"] == str(teacher_run)


def test_the_teacher_is_trained_its_own_way(recipe: Path, tmp_path: Path) -> None:
    own = "{iterations: 2, batch_size: 3, crop: [32, 32], seed: 7, log_every: 1}"
    summary = train(
        load_recipe(str(recipe), [f"teacher.train={own}"]), "teacher", tmp_path / "run", device="cpu"
    )
    assert (summary["role"], summary["iterations"], summary["batch_size"], summary["seed"]) == (
        "teacher",
        2,
        3,
        7,
    )
    assert (tmp_path / "run" / "teacher.safetensors").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missing(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingComponentError, match=r"^cuda: torch .* finds no usable GPU"):
        train(load_recipe(str(recipe)), "student", tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_imagenet_weights_without_a_network(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(name: str, *, weights: str | None, **_: Any) -> None:
        assert (name, weights) == ("mobilenet_v2", "imagenet")
        raise OSError("We couldn't connect to 'https://huggingface.co'\nCheck your connection")

    monkeypatch.setattr("segmentation_models_pytorch.decoders.deeplabv3.model.get_encoder", offline)
    loaded = load_recipe(str(recipe), ["student.weights=imagenet"])
    with pytest.raises(
        UserError, match=r"^student.weights: imagenet .* --set student.weights=none"
    ) as caught:
        train(loaded, "student", tmp_path / "run", device="cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def launch(processes: int, *arguments: object) -> list[str]:
    """The command line of `torchrun --nproc-per-node PROCESSES -m kd_deploy ARGUMENTS`."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    return [str(word) for word in (*launcher, processes, "-m", "kd_deploy", *arguments)]


def torchrun(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(launch(processes, *arguments), capture_output=True, text=True)


def distillation(recipe: Path, teacher: Path, run: Path, overrides: Iterable[str]) -> list[object]:
    """The arguments of `kd-deploy distill` on the CPU."""
    words = [word for text in overrides for word in ("--set", text)]
    return ["distill", recipe, "--teacher", teacher, "-o", run, "--device", "cpu", *words]


def test_two_processes_train_one_run(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = ["--set", "train.iterations=4", "--set", "train.batch_size=4"]
    command = ["train", recipe, "--role", "student", "-o", run, "--device", "cpu", *overrides]
    done = torchrun(2, *command)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["step"]) for r in records] == [("train", 3), ("train", 4), ("evaluate", 4)]
    assert done.stderr.count("run: 3/4") == 1
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert json.loads((run / "summary.json").read_text())["weights_of_step"] == 4
    refused = torchrun(2, *command)
    assert refused.returncode == 1
    assert f"error: {run}: exists already" in refused.stderr
    assert "[rank1]" not in refused.stderr  # no traceback of a process that waits for the other


def test_class_weights_are_one_for_each_class(recipe: Path, tmp_path: Path) -> None:
    loaded = load_recipe(str(recipe), ["supervised={class_weights: [1, 2]}"])
    with pytest.raises(
        UserError, match=r"^supervised.class_weights: 2 weights for 11 classes; .* sky, building, "
    ):
        train(loaded, "student", tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_the_supervised_options_train_a_student_alone(recipe: Path, tmp_path: Path) -> None:
    weights = [1.0] * 10 + [4.0]
    supervised = f"supervised={{class_weights: {weights}, ohem: {{keep: 0.3}}, auxiliary: {{tap: stage3}}}}"
    loaded = load_recipe(
        str(recipe), [supervised, "train.iterations=2", "evaluate.every=2", "train.log_every=1"]
    )
    train(loaded, "student", tmp_path / "run", device="cpu")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["auxiliary.weighted"] == pytest.approx(0.4 * records[0]["auxiliary"])
    assert records[0]["loss"] == pytest.approx(records[0]["ce"] + records[0]["auxiliary.weighted"])


def test_two_processes_give_the_curve_of_one(deeplab: Any, tmp_path: Path) -> None:
    """The same global batches, with frozen batch norm: losses, gradients, scores and weights of every step."""
    feature = "{method: cwd, weight: 1, taps: [decoder]}"
    terms = f"distill=[{{method: kd, weight: 1}}, {{method: bpkd.edge, weight: 0.1}}, {feature}]"
    overrides = ["train.iterations=4", "train.batch_size=4", "train.log_every=1", "evaluate.every=2", terms]
    overrides += ["train.batchnorm=frozen", "train.optimizer={name: sgd}", "train.lr=0.05"]
    for processes in (1, 2):
        run = tmp_path / str(processes)
        done = torchrun(processes, *distillation(deeplab.recipe, deeplab.teacher, run, overrides))
        assert done.returncode == 0, done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()] for n in "12"
    )
    assert len(one) == len(two) == 6
    for alone, shared in zip(one, two, strict=True):
        assert alone.keys() == shared.keys()
        clocked = {"images_per_second", "waiting_for_data"}
        for key in alone.keys() - {"kind", "classes", "boundary_classes"} - clocked:
            assert shared[key] == pytest.approx(alone[key], rel=2e-3), (alone["step"], key)
    first = {key: value for key, value in one[0].items() if key.endswith((".gradient", ".weighted"))}
    assert len(first) == 8
    for key in first:  # before the rounding of a step
        assert two[0][key] == pytest.approx(first[key], rel=1e-4), key


def test_ctrl_c_stops_all_processes_after_saving(deeplab: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = ["train.iterations=4000", "train.batch_size=4", "evaluate.every=4000"]
    command = launch(2, *distillation(deeplab.recipe, deeplab.teacher, run, overrides))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    state = Run.open(run).load_checkpoint("last")
    assert state is not None, errors
    assert state["step"] > 0
    assert errors.count("interrupted") >= 1


SETTINGS = Train(iterations=1, batch_size=4, crop=(32, 32))


def test_fp16_on_a_cpu_is_refused() -> None:
    """Accelerate would train in fp32 without a word."""
    with pytest.raises(UserError, match=r"^train.precision: fp16 needs a GPU; .* bf16 or fp32$"):
        make_accelerator("cpu", SETTINGS.model_copy(update={"precision": "fp16"}))


def test_another_device_than_the_one_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.training.assemble.make_device", lambda name: torch.device("cuda"))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(UserError, match=r"^--device cuda: Accelerate took cpu instead of cuda; unset"):
        make_accelerator("cuda", SETTINGS)


def test_a_runs_device_is_not_the_one_of_the_run_before() -> None:
    make_accelerator("cpu", SETTINGS)
    PartialState().device = torch.device("meta")
    assert make_accelerator("cpu", SETTINGS).device.type == "cpu"


@pytest.mark.parametrize("processes", [3, 4])
def test_a_batch_that_the_processes_cannot_share(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", processes)
    with pytest.raises(
        UserError, match=f"^train.batch_size: 4 cannot be shared by {processes} processes; give"
    ):
        make_accelerator("cpu", SETTINGS)


def test_val_frames_are_scored_at_their_own_size(
    own_camvid: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = write_camvid(tmp_path / "large", size=(96, 128))
    for folder in ("val", "valannot"):
        shutil.rmtree(own_camvid / folder)
        shutil.copytree(large / folder, own_camvid / folder)
    sizes, run = set(), TorchModel._run
    monkeypatch.setattr(
        TorchModel, "_run", lambda self, frames: (sizes.add(frames.shape[1:3]), run(self, frames))[1]
    )
    loaded = load_recipe(str(recipe), [f"data.root={own_camvid}", "train.iterations=1"])
    train(loaded, "student", tmp_path / "run", device="cpu")
    assert sizes == {(96, 128)}


def test_resume_remembers_the_teacher(deeplab: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    (run / "summary.json").unlink()  # as if it had been stopped just before
    summary = distill(load_recipe(str(run / "recipe.yaml")), run, device="cpu", resume=True)
    assert summary["teacher"] == str(deeplab.teacher)


def test_a_summary_needs_neither_resource_nor_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no `resource` on Windows, and a checkout on the path has no metadata."""

    def version(name: str) -> str:
        if name == "kd-deploy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(module, "version", version)
    facts = module._environment(torch.device("cpu"))
    assert facts["peak_memory_bytes"] is None
    assert (facts["versions"]["kd-deploy"], facts["versions"]["torch"]) == (None, "1.0")


def test_the_commit_is_the_checkouts_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    for package, own in (("kd_deploy/training", True), (".venv/lib/site-packages/kd_deploy/training", False)):
        (tmp_path / package).mkdir(parents=True)
        monkeypatch.setattr(module, "__file__", str(tmp_path / package / "summary.py"))
        assert (module._commit() is not None) is own
