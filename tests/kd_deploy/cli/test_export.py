"""`kd-deploy export`: what it prints, what it refuses, and what it completes where something is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_deploy import deploy
from kd_deploy.deploy import Wanted
from kd_deploy.export import measure
from kd_deploy.export.speed import Speed
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import GateFailedError
from tests.runtime.gpu import FakeGpu


@pytest.fixture
def quick(precise: Path, traced: Callable[[Path], None]) -> None:
    """`trained` is exported with the graphs of its bundle."""
    traced(precise)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What an export was asked for; it ends there."""
    asked: list[Wanted] = []

    def refuse(run: Path, output: Path, wanted: Wanted, **_: Any) -> None:
        asked.append(wanted)
        raise GateFailedError("enough")

    monkeypatch.setattr(deploy, "export_run", refuse)
    return asked


@pytest.mark.usefixtures("quick")
def test_the_table_the_frame_and_tensorrts_operators(trained: Path, tmp_path: Path, kd: Any) -> None:
    outcome = kd("export", trained, "-o", tmp_path / "bundle")
    assert (outcome.code, outcome.err) == (0, "")
    for text in (
        "model.fp32.onnx",
        "model.fp32-cpu.onnx",
        "frame: uint8 (N, 64, 96, 3) BGR; mask: uint8 (N, 64, 96), 11 classes; 2 golden frames agree with",
        "by its ONNX parser's documentation: reads every node of fp32\n",
    ):
        assert text in outcome.out
    assert list(Bundle.open(tmp_path / "bundle").manifest["models"]) == ["fp32", "fp32-cpu"]


@pytest.mark.usefixtures("quick")
def test_a_precisions_scores_choice_and_time(
    trained: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[str, str]] = []

    def compare(base: Any, model: Any, images: Any) -> Speed:
        timed.append((base.describe().precision, model.describe().precision))
        return Speed(1.25, f"{timed[-1][1]} is not faster")

    monkeypatch.setattr(measure, "compare_speed", compare)
    precisions = ("--precision", "fp16", "--precision", "fp16", "--precision", "bf16", "--calibration", 4)
    outcome = kd("export", trained, "-o", tmp_path / "b", *precisions)
    assert (outcome.code, outcome.err) == (0, "")
    assert timed == [("fp32-cpu", "fp32"), ("fp32-cpu", "fp16")]
    scores = {e["candidate"]["precision"]: e["candidate"] for e in Bundle.open(tmp_path / "b").ledger()}
    assert list(scores) == ["fp32", "fp32-cpu", "fp16"]
    (row,) = [line for line in outcome.out.splitlines() if "model.fp16.onnx" in line]
    numbers = [float(n) for n in re.findall(r"\d+\.\d\d(?!\d)", row)]
    expected = [scores["fp16"]["miou"], scores["fp16"]["boundary_iou"], 1.25]
    assert numbers[-3:] == pytest.approx(expected, abs=0.006)
    assert re.search(r"^fp16: [\d.]+ % of 4 calibration frames' pixels agree", outcome.out, re.MULTILINE)
    assert "fp32 is not faster" in outcome.out
    assert "fp16 is not faster" in outcome.out
    assert "documentation: reads every node of fp32, fp16\n" in outcome.out
    assert re.search(r"^  limited \(before 10\.6\), in bf16: opset 22: ", outcome.out, re.MULTILINE)


@pytest.mark.usefixtures("quick")
def test_a_gate_that_fails_is_4_and_nothing_is_left(
    trained: Path, tmp_path: Path, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "MIN_PIXEL_AGREEMENTS", {"fp32": 99.9, "fp16": 100.1})
    outcome = kd("export", trained, "-o", tmp_path / "bundle", "--precision", "fp16", "--calibration", 4)
    assert outcome.code == 4
    assert re.match(
        r"fp16: at batch 1 [\d.]+ % .*, 100.1 % are required; nothing was written$", outcome.error
    )
    assert list(tmp_path.iterdir()) == []


def test_every_option_arrives(asked: list[Wanted], tmp_path: Path, kd: Any) -> None:
    output = ("-o", tmp_path / "bundle")
    kd("export", "run", *output)
    options = ("--size", "96x64", "--batch", 3, "--dynamic", "size", "--calibration", 9, "--measured", 7)
    kd("export", "run", *output, *options, "--simplify", "--precision", "int8", "--precision", "fp32")
    kd("export", "run", *output, "--dynamic", "batch")
    kd("export", "run", *output, "--precision", "fp32")
    kd("export", "run", *output, "--measured", 5)
    assert asked == [
        Wanted(),
        Wanted(
            size=(96, 64),
            batch=3,
            free_size=True,
            precisions=("int8",),
            calibration=9,
            measured=7,
            simplify=True,
        ),
        Wanted(),
        Wanted(measured=100),
        Wanted(measured=5),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch", 2, "--dynamic", "batch"), "--batch fixes what --dynamic batch leaves free; choose one"),
        (("--precision", "fp8"), "'fp8' is not one of 'fp32', 'fp16', 'bf16', 'int8', 'int8-cpu'"),
        (("--batch", 0), "0 is not in the range x>=1"),
        (("--calibration", 0), "0 is not in the range x>=1"),
        (("--dynamic", "colour"), "'colour' is not one of 'batch', 'size'"),
        (("--size", "200000x200000"), "'200000x200000' is too large; 16384 pixels a side are the most"),
        (("--size", f"{'9' * 5000}x8"), "is too large; 16384 pixels a side are the most"),
        (("--size", "²x3"), "'²x3' is no size; write HEIGHTxWIDTH, for example 360x480"),
        (("--size", "٣x3"), "'٣x3' is no size"),
        (("--size", "0x3"), "'0x3' is no size"),
        (("--size", "3x4x5"), "'3x4x5' is no size"),
    ],
)
def test_bad_usage_is_2(asked: list[Wanted], kd: Any, options: tuple[Any, ...], said: str) -> None:
    outcome = kd("export", "run", "-o", "bundle", *options)
    assert outcome.code == 2
    assert outcome.out == ""
    assert said in outcome.err
    assert asked == []


def test_the_option_knows_every_precision() -> None:
    from kd_deploy.cli.export import PRECISIONS
    from kd_deploy.export import precisions

    assert PRECISIONS == precisions.PRECISIONS


def test_a_taken_triton_folder_is_refused_before_any_work(
    asked: list[Wanted], trained: Path, tmp_path: Path, kd: Any
) -> None:
    folder = tmp_path / "triton"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    command = ("export", trained, "-o", tmp_path / "bundle", "--triton", folder)
    for force in ((), ("--force",)):
        outcome = kd(*command, *force)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{folder}: exists already and is no Triton repository")
    model = folder / "segformer-resnet18-fp16"
    model.mkdir()
    (model / "config.pbtxt").write_text("theirs")
    for force, said in (
        ((), "exists already; choose another name"),
        (("--force",), "was not written by kd-dep"),
    ):
        outcome = kd(*command, "--precision", "fp16", *force)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{model}: {said}")
    assert asked == []


@pytest.mark.parametrize(
    ("output", "triton"), [("x", "x"), ("x", "x/t"), ("t/x", "t"), ("y/../x", "./x"), ("x", "X/../x/a/b")]
)
def test_bundle_and_repository_in_each_other(
    asked: list[Wanted], trained: Path, output: str, triton: str, tmp_path: Path, kd: Any
) -> None:
    outcome = kd("export", trained, "-o", tmp_path / output, "--triton", f"{tmp_path}/{triton}", "--force")
    assert outcome.code == 1
    assert "bundle and repository cannot lie in each other" in outcome.error
    assert asked == []
    assert list(tmp_path.iterdir()) == []


def test_every_failed_engine_leaves_the_rest_complete(
    trained: Path, precise: Path, traced: Callable[[Path], None], tmp_path: Path, kd: Any, monkeypatch: Any
) -> None:
    """Not a missing library alone: a precision that the builder refuses comes after the Triton models, too."""
    from kd_deploy.runtime.engines import make

    def refuse(bundle: Bundle, precision: str, *_: Any, **__: Any) -> None:
        raise GateFailedError(f"{precision}: other masks than PyTorch's")

    traced(precise)
    monkeypatch.setattr(make, "build_engine", refuse)
    triton = tmp_path / "triton"
    outcome = kd("export", trained, "-o", tmp_path / "bundle", "--trt", "--triton", triton)
    assert outcome.code == 4
    assert outcome.err == "error: fp32: other masks than PyTorch's\n"
    assert f"{triton}: segformer-resnet18-fp32" in outcome.out
    assert (triton / "segformer-resnet18-fp32" / "1" / "model.onnx").is_file()


@pytest.mark.usefixtures("quick")
def test_overwrite_replaces_a_bundle_and_a_repository(
    trained: Path, precise: Path, tmp_path: Path, kd: Any
) -> None:
    bundle = Path(shutil.copytree(precise, tmp_path / "bundle"))
    command = ("export", trained, "-o", bundle, "--triton", tmp_path / "triton")
    outcome = kd(*command)
    assert outcome.code == 1
    assert outcome.error.startswith(f"{bundle}: exists already; choose another name")
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    others: set[str] = set()
    for _ in range(2):
        assert kd(*command, "--overwrite").code == 0
        assert list(Bundle.open(bundle).manifest["models"]) == ["fp32", "fp32-cpu"]
        assert {p.name for p in (tmp_path / "triton").iterdir()} == {"segformer-resnet18-fp32", *others}
        others = {"bert"}  # somebody else's, from now on
        (tmp_path / "triton" / "bert").mkdir(exist_ok=True)
        (tmp_path / "triton" / "bert" / "config.pbtxt").write_text("theirs")


@pytest.mark.usefixtures("quick")
def test_without_tensorrt_the_rest_is_complete(
    trained: Path, tmp_path: Path, kd: Any, without_tensorrt: Callable[[], None]
) -> None:
    without_tensorrt()
    bundle, triton = tmp_path / "bundle", tmp_path / "triton"
    outcome = kd("export", trained, "-o", bundle, "--trt", "--triton", triton)
    assert outcome.code == 3
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: tensorrt: ")
    assert "libnvinfer.so.10" in line
    assert "model.fp32.onnx" in outcome.out
    assert f"{triton}: segformer-resnet18-fp32" in outcome.out
    assert "fp32 on TensorRT is left out: the bundle holds no engine" in outcome.out
    opened = Bundle.open(bundle)
    model = triton / "segformer-resnet18-fp32"
    assert (model / "1" / "model.onnx").read_bytes() == opened.model_file("fp32").read_bytes()
    assert "max_batch_size: 8" in (model / "config.pbtxt").read_text()
    assert kd("parity", bundle).code == 0


@pytest.mark.usefixtures("quick")
def test_with_tensorrt_the_repository_serves_the_engine(
    gpu: FakeGpu, trained: Path, tmp_path: Path, kd: Any
) -> None:
    bundle, triton = tmp_path / "bundle", tmp_path / "triton"
    outcome = kd("export", trained, "-o", bundle, "--trt", "--triton", triton)
    assert outcome.code == 0
    (engine,) = (bundle / "engines").glob("*.engine")
    assert f"trtexec --loadEngine={engine}" in outcome.out
    served = triton / "segformer-resnet18-fp32-tensorrt" / "1" / "model.plan"
    assert served.read_bytes() == engine.read_bytes()


def test_a_run_that_is_not_finished(trained: Path, tmp_path: Path, kd: Any) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "summary.json").unlink()
    outcome = kd("export", run, "-o", tmp_path / "bundle")
    assert outcome.code == 1
    assert outcome.error.startswith(f"{run}: the run is not finished")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.usefixtures("quick")
def test_too_few_calibration_frames(trained: Path, tmp_path: Path, kd: Any) -> None:
    outcome = kd("export", trained, "-o", tmp_path / "b", "--precision", "int8", "--calibration", 7)
    assert outcome.code == 1
    assert outcome.error.startswith("int8: 7 calibration frames are too few, 8 or more are needed; ")
    assert list(tmp_path.iterdir()) == []


def test_the_batch_of_the_repository_is_the_graphs(
    trained: Path, pairs: Path, traced: Callable[[Path], None], tmp_path: Path, kd: Any
) -> None:
    traced(pairs)
    triton = tmp_path / "triton"
    outcome = kd("export", trained, "-o", tmp_path / "bundle", "--batch", 2, "--triton", triton)
    assert (outcome.code, outcome.err) == (0, "")
    assert "frame: uint8 (2, 64, 96, 3) BGR" in outcome.out
    assert Bundle.open(tmp_path / "bundle").batch == 2
    config = (triton / "segformer-resnet18-fp32" / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in config
    report = json.loads(kd("parity", tmp_path / "bundle", "--json").out)
    assert (report["verdict"], report["frames"]) == ("pass", 2)
