"""What a device does with the core, OpenCV and ONNX Runtime, where nothing of the training side is installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Deployed, draw
from tests.device.environments import ABSENT, DEVICE, PURE, Device, installed, linked, python310
from tests.package.test_layout import built  # noqa: F401  # the wheel

REQUIRED = os.environ.get("KD_DEPLOY_DEVICE") == "required"
"""Environments are installed from the package index, as a user's are; CI sets it."""

COMMANDS = ("infer", "benchmark", "parity", "build", "doctor")


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:  # noqa: F811
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def old_python() -> str:
    found = python310()
    if found is None:
        pytest.skip("no Python 3.10 on this machine")
    return found


@pytest.fixture(scope="module")
def offline(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return linked(tmp_path_factory.mktemp("offline") / "venv", wheel, DEVICE)


@pytest.fixture(scope="module")
def newest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """What pip installs today."""
    libraries = ("opencv-python-headless", "onnxruntime")
    yield from _installed(tmp_path_factory.mktemp("newest"), wheel, libraries, sys.executable)


@pytest.fixture(scope="module")
def oldest(wheel: Path, tmp_path_factory: pytest.TempPathFactory, old_python: str) -> Iterator[Device]:
    """JetPack 6's Python, NumPy as docs/jetson.md says, the OpenCV of JetPack 7's Ubuntu."""
    libraries = ("numpy==1.26.4", "opencv-python-headless==4.6.0.66", "onnxruntime==1.23.2")
    yield from _installed(tmp_path_factory.mktemp("oldest"), wheel, libraries, old_python)


@pytest.fixture(params=["offline", "newest", "oldest"])
def device(request: pytest.FixtureRequest) -> Device:
    found: Device = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def folder(deeplab: Deployed, tmp_path: Path) -> Path:
    """`bundle`, `pictures` with two of them, and `street.mp4` of five frames."""
    shutil.copytree(deeplab.bundle, tmp_path / "bundle")
    (tmp_path / "pictures").mkdir()
    video = cv2.VideoWriter(str(tmp_path / "street.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for number in range(5):
        frame, _ = draw(number, (64, 96))
        video.write(frame)
        if number < 2:
            cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), frame)
    video.release()
    return tmp_path


def _installed(folder: Path, wheel: Path, libraries: Sequence[str], interpreter: str) -> Iterator[Device]:
    if not REQUIRED:
        pytest.skip("installs from the package index; set KD_DEPLOY_DEVICE=required")
    yield installed(folder / "venv", wheel, libraries, interpreter)
    shutil.rmtree(folder)  # some hundred megabytes


def test_nothing_of_the_training_side_is_there(device: Device, folder: Path) -> None:
    source = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    assert device.run("python", "-c", source, cwd=folder).stdout.strip() == "[]"
    where = device.run("python", "-c", "import kd_deploy; print(kd_deploy.__file__)", cwd=folder).stdout
    assert where.startswith(str(device.folder))


@pytest.mark.parametrize("command", COMMANDS)
def test_help(device: Device, folder: Path, command: str) -> None:
    done = device.run("kd-deploy", command, "--help", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"kd-deploy {command}" in done.stdout


def test_the_mask_of_an_image_is_the_references(device: Device, folder: Path) -> None:
    frame, expected = folder / "bundle/golden/000.frame.png", folder / "bundle/golden/000.mask.png"
    done = device.run("kd-deploy", "infer", "bundle", frame, "-o", "mask.png", "--mask", cwd=folder)
    assert done.returncode == 0, done.stderr
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_UNCHANGED)
    reference = cv2.imread(str(expected), cv2.IMREAD_UNCHANGED)
    assert mask.shape == reference.shape
    assert np.mean(mask == reference) > 0.999


def test_a_folder_and_a_video(device: Device, folder: Path) -> None:
    done = device.run("kd-deploy", "infer", "bundle", "pictures", "-o", "drawn", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (folder / "drawn").iterdir()) == ["0.png", "1.png"]
    done = device.run("kd-deploy", "infer", "bundle", "street.mp4", "-o", "drawn.mp4", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 5
    video = cv2.VideoCapture(str(folder / "drawn.mp4"))
    assert [video.read()[0] for _ in range(6)] == [True] * 5 + [False]


def test_parity_and_benchmark(device: Device, folder: Path) -> None:
    done = device.run("kd-deploy", "parity", "bundle", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "pass"
    done = device.run(
        "kd-deploy", "benchmark", "bundle", "--seconds", "0", "--boundary", "frame", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert {entry["backend"] for entry in json.loads(done.stdout)["results"]} == {"onnxruntime-cpu"}


def test_doctor(device: Device, folder: Path) -> None:
    done = device.run("kd-deploy", "doctor", "--json", cwd=folder)
    assert done.returncode in (0, 3), done.stderr
    assert "onnxruntime" in json.dumps(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("build bundle", "tensorrt"),
        ("parity bundle --backend torch", "torch"),
        ("parity bundle --data synthetic", "pydantic"),
        ("evaluate bundle", "pydantic"),
        ("export run -o other", "pydantic"),
    ],
)
def test_what_is_missing_is_named_in_one_line(device: Device, folder: Path, line: str, missing: str) -> None:
    done = device.run("kd-deploy", *line.split(), cwd=folder)
    assert done.returncode == 3, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert missing in said


def test_the_wrong_input_is_one_line(device: Device, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    done = device.run("kd-deploy", "infer", "bundle", "broken.png", "-o", "mask.png", cwd=folder)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert "broken.png" in said
    assert not (folder / "mask.png").exists()


def test_python_310_without_numpy(wheel: Path, old_python: str, tmp_path: Path, deeplab: Deployed) -> None:
    """The command line answers, and says what is missing: all that can be tried without an index."""
    device = linked(tmp_path / "venv", wheel, PURE, old_python)
    assert device.run("python", "--version", cwd=tmp_path).stdout.startswith("Python 3.10.")
    for command in COMMANDS:
        done = device.run("kd-deploy", command, "--help", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = device.run("kd-deploy", "infer", deeplab.bundle, "a.png", "-o", "b.png", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: numpy: is not installed; ")
