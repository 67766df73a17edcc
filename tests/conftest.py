"""A tiny CamVid, a tiny run of each student on it, and the command line in process."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

# Pictures this small are slower on more threads; subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Some modules here import onnxruntime before kd_deploy says so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell's background jobs ignore Ctrl-C, what nohup starts ignores SIGHUP, and so do their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

Array = NDArray[np.uint8]

ENCODERS = {"deeplabv3plus": "mobilenet_v2", "segformer": "mit_b0"}
"""The two students."""

RECIPE = """\
data: {{format: camvid, root: {root}}}
student: {{arch: {arch}, encoder: {encoder}, weights: none}}
teacher: {{arch: deeplabv3plus, encoder: resnet18, weights: none}}
distill:
  - {{method: kd, weight: 1, schedule: {{kind: linear, start: 1, end: 0}}}}
  - {{method: bpkd.body, weight: 0.5, options: {{edge_width: 3}}}}
train:
  iterations: 8
  batch_size: 2
  crop: [64, 96]
  lr: 0.002
  optimizer: {{name: adamw, weight_decay: 0.01}}
  augment: {{scale: [0.75, 1.25]}}
  log_every: 3
evaluate: {{every: 4}}
export: {{golden: 2}}
"""


def draw(seed: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """A street of blocks: the frame (H, W, 3) uint8 BGR and its mask (H, W) uint8 with both void ids."""
    rng = np.random.default_rng(seed)
    height, width = size
    mask = np.full(size, 3, np.uint8)  # road
    mask[: height // 2] = 0  # sky
    x = int(rng.integers(0, width // 2))
    mask[height // 4 : height // 2, x : x + width // 3] = 1  # building
    mask[height // 8 : height // 2 + 4, width - 12 - x // 4 : width - 9 - x // 4] = 2  # pole
    mask[height // 2 : height * 3 // 4, x + 8 : x + 8 + width // 4] = 8  # car
    colors = rng.integers(0, 256, (256, 3)) // 8 + np.arange(256)[:, None] * (23, 71, 151) % 224
    frame = np.clip(colors[mask] + rng.normal(0, 6, (*size, 3)), 0, 255).astype(np.uint8)
    mask[-4:] = 11
    mask[:, :2] = 255
    return frame, mask


def write_camvid(
    root: Path, *, size: tuple[int, int] = (64, 96), train: int = 6, val: int = 4, suffix: str = ".jpg"
) -> Path:
    """Drawn frames in the SegNet layout of CamVid."""
    for first, (split, count) in enumerate((("train", train), ("val", val))):
        for folder in (root / split, root / f"{split}annot"):
            folder.mkdir(parents=True)
        for number in range(count):
            frame, mask = draw(1000 * first + number, size)
            cv2.imwrite(str(root / split / f"{number:03d}{suffix}"), frame)
            cv2.imwrite(str(root / f"{split}annot" / f"{number:03d}.png"), mask)
    return root


def write_recipe(file: Path, root: Path, arch: str = "deeplabv3plus") -> Path:
    file.write_text(RECIPE.format(root=root, arch=arch, encoder=ENCODERS[arch]), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: 6 training and 4 validation frames of 64 x 96."""
    return write_camvid(tmp_path_factory.mktemp("data") / "camvid")


@pytest.fixture
def own_camvid(camvid: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(camvid, tmp_path / "camvid"))


@pytest.fixture(scope="session")
def recipe(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: the recipe of the DeepLabV3+ student."""
    return write_recipe(tmp_path_factory.mktemp("recipe") / "tiny.yaml", camvid)


@dataclass(frozen=True)
class Deployed:
    """The way from a recipe to a bundle; read only."""

    recipe: Path
    teacher: Path
    run: Path
    bundle: Path


@pytest.fixture(scope="session")
def teacher_run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: a finished run of the teacher."""
    from kd_deploy.config.load import load_recipe
    from kd_deploy.training.train import train

    path = tmp_path_factory.mktemp("teacher") / "teacher"
    train(load_recipe(str(recipe), ["train.iterations=4"]), "teacher", path, device="cpu")
    return path


@pytest.fixture(scope="session")
def deploy(
    camvid: Path, teacher_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Deployed]:
    """The finished run and the bundle of a student, by its architecture; made once."""
    from kd_deploy.config.load import load_recipe
    from kd_deploy.deploy import export_run
    from kd_deploy.training.train import distill

    @cache
    def deployed(arch: str) -> Deployed:
        folder = tmp_path_factory.mktemp(arch)
        file = write_recipe(folder / "tiny.yaml", camvid, arch)
        distill(load_recipe(str(file)), folder / "run", teacher=str(teacher_run), device="cpu")
        export_run(folder / "run", folder / "bundle")
        return Deployed(file, teacher_run, folder / "run", folder / "bundle")

    return deployed


@pytest.fixture(scope="session", params=list(ENCODERS))
def deployed(request: pytest.FixtureRequest, deploy: Callable[[str], Deployed]) -> Deployed:
    """Both students in turn."""
    return deploy(request.param)


@pytest.fixture(scope="session")
def deeplab(deploy: Callable[[str], Deployed]) -> Deployed:
    return deploy("deeplabv3plus")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: the finished run of a network that is exported in a second or two and says something: its mIoU on
    val is over 50 points. 10 training frames."""
    from kd_deploy.config.load import load_recipe
    from kd_deploy.training.train import train

    folder = tmp_path_factory.mktemp("trained")
    file = write_recipe(folder / "tiny.yaml", write_camvid(folder / "camvid", train=10), "segformer")
    overrides = ("student.encoder=resnet18", "train.iterations=30", "evaluate.every=30", "train.lr=0.001")
    train(load_recipe(str(file), overrides), "student", folder / "run", device="cpu")
    return folder / "run"


@pytest.fixture(scope="session")
def precise(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: the bundle of `trained` in every precision."""
    from kd_deploy.deploy import Wanted, export_run

    path = tmp_path_factory.mktemp("precise") / "bundle"
    export_run(trained, path, Wanted(precisions=("fp16", "bf16", "int8", "int8-cpu")))
    return path


@pytest.fixture(scope="session")
def pairs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: the bundle of `trained` whose graphs take two frames at once."""
    from kd_deploy.deploy import Wanted, export_run

    path = tmp_path_factory.mktemp("pairs") / "bundle"
    export_run(trained, path, Wanted(batch=2))
    return path


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Exports take their float graphs from the folder that is given, which saves the seconds of tracing them."""

    def use(folder: Path) -> None:
        def copy(graph: object, ends: object, file: Path, facts: object) -> None:
            shutil.copy(folder / file.name, file)

        monkeypatch.setattr("kd_deploy.export.precisions.write_onnx", copy)

    return use


@pytest.fixture
def own_bundle(deeplab: Deployed, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(deeplab.bundle, tmp_path / "bundle"))


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, and all that reached file descriptors 1 and 2."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        assert self.out == ""
        return line.removeprefix("error: ")


@pytest.fixture
def kd(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`kd-deploy ARGUMENTS` in this process."""
    from kd_deploy.cli import run

    def command(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return command
