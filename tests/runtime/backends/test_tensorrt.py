"""The TensorRT backend over fakes: ONNX Runtime computes, streams and graphs are kept book of."""

from __future__ import annotations

import json
import shlex
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kd_deploy.runtime.backends.tensorrt import TensorRt
from kd_deploy.runtime.benchmark import benchmark_bundle
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.engines.build import build
from kd_deploy.runtime.engines.handles import key_here
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.engines.store import EngineFile, engine_path, keep
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import open_model, precisions
from tests.runtime import fake_cuda
from tests.runtime.backends.tester import keeps_the_contract
from tests.runtime.gpu import SIZE, FakeGpu, write_bundle


def make(bundle: Bundle, **options: Any) -> EngineFile:
    """An engine of the fp32 model in the bundle, without the checks."""
    chosen = BuildOptions(workspace=64, **options)
    key = key_here(bundle, "fp32", chosen)
    path = engine_path(bundle, key)
    path.parent.mkdir(exist_ok=True)
    build(
        Request(str(bundle.model_file("fp32")), str(path), "fp32", bundle.size, chosen), lambda percent: None
    )
    return keep(path, key, {})


def open_here(bundle: Bundle) -> Any:
    return open_model(bundle, backend="tensorrt")


def frames_and_masks(bundle: Bundle, count: int) -> tuple[Any, Any]:
    """Frames of noise and what ONNX Runtime makes of them."""
    frames = np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)
    with open_model(bundle) as reference:
        return frames, reference.run(frames)


def launches(gpu: FakeGpu) -> list[int]:
    """Graphs launched on each stream."""
    return [stream.launched for stream in gpu.cuda._streams.values()]


@pytest.mark.parametrize("batch", [(1, 1, 1), (1, 2, 4), (2, 2, 3)])
@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_the_contract(gpu: FakeGpu, tiny: Bundle, batch: tuple[int, int, int], version: str) -> None:
    gpu(version=version)
    make(tiny, batch=batch)
    keeps_the_contract(tiny, "tensorrt")
    assert not gpu.cuda._memory
    assert not gpu.cuda._streams
    assert not gpu.cuda._other


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_a_batch_larger_than_the_engines_runs_in_parts(gpu: FakeGpu, tiny: Bundle, count: int) -> None:
    make(tiny, batch=(1, 1, 3))
    frames, right = frames_and_masks(tiny, count)
    with open_here(tiny) as model:
        for _ in range(3):
            assert (model.run(frames) == right).all()
        assert len(gpu.cuda._streams) == (1 if count <= 3 else 2)


def test_without_memory_for_a_second_lane_one_does_it_all(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny)
    gpu(cuda={"limit": 5000})
    frames, right = frames_and_masks(tiny, 5)
    with open_here(tiny) as model:
        for _ in range(2):
            assert (model.run(frames) == right).all()
        assert len(gpu.cuda._streams) == 1
    assert not gpu.cuda._memory


def test_a_fixed_batch_is_filled_up(gpu: FakeGpu, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "fixed", batch=2)
    make(bundle)
    frames, right = frames_and_masks(bundle, 2)
    with open_here(bundle) as model:
        for first in (slice(0, 1), slice(1, 2), slice(0, 2)):
            assert (model.run(frames[first]) == right[first]).all()
        odd = np.concatenate((frames, frames[:1]))
        assert (model.run(odd) == np.concatenate((right, right[:1]))).all()


def test_the_graph_is_captured_after_one_run_of_a_batch_size(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny, batch=(1, 2, 2))
    frames, right = frames_and_masks(tiny, 2)
    with open_here(tiny) as model:
        counts = []
        for batch in (1, 1, 1, 2, 2, 1, 1):
            assert (model.run(frames[:batch]) == right[:batch]).all()
            counts += launches(gpu)
        assert counts == [0, 1, 2, 2, 3, 3, 4]
        assert len(gpu.cuda._other) == 1  # the old graphs are gone
        assert model.describe().device == "Orin"


def test_a_graph_that_is_refused_is_told_once_and_done_without(
    gpu: FakeGpu, tiny: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tiny, batch=(1, 1, 2))
    gpu(refuses_capture=True)
    frames, right = frames_and_masks(tiny, 2)
    with open_here(tiny) as model:
        for _ in range(4):
            assert (model.run(frames) == right).all()
        assert launches(gpu) == [0]
        assert model.describe().device == "Orin, without a CUDA graph"
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "tensorrt: without a CUDA graph, its capture was refused (enqueueV3: operation not permitted when capturing)"
    )


def test_what_runs_is_described(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny)
    with open_here(tiny) as model:
        what = model.describe()
    assert (what.backend, what.precision, what.device) == ("tensorrt", "fp32", "Orin")
    assert what.versions == {"tensorrt": "10.3.0", "cuda": "12.6", "numpy": np.__version__}


def test_without_an_engine_the_command_that_makes_one_is_named(gpu: FakeGpu, tiny: Bundle) -> None:
    place = f"on Orin, {sysconfig.get_platform()}"
    with pytest.raises(UserError) as caught:
        open_here(tiny)
    assert str(caught.value) == (
        f"{tiny.path}: holds no intact fp32 engine for TensorRT 10.3.0 {place} (it has: none); make one with "
        f"kd-deploy build {tiny.path} --precision fp32"
    )
    make(tiny)
    gpu(version="10.16.1.11")
    with pytest.raises(
        UserError, match=rf"for TensorRT 10.16.1.11 {place} \(it has: TensorRT 10.3.0 {place}\)"
    ):
        open_here(tiny)


def test_the_command_can_be_pasted_whatever_the_path(gpu: FakeGpu, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "my bundle")
    with pytest.raises(UserError) as caught:
        open_here(bundle)
    command = str(caught.value).partition("make one with ")[2]
    assert shlex.split(command) == ["kd-deploy", "build", str(bundle.path), "--precision", "fp32"]


@pytest.mark.parametrize("damage", ["engine", "json", "board"])
def test_an_engine_that_is_not_the_one_that_was_built_is_not_loaded(
    gpu: FakeGpu, tiny: Bundle, damage: str
) -> None:
    engine = make(tiny)
    if damage == "engine":
        engine.path.write_bytes(engine.path.read_bytes().replace(b'"level": 3', b'"level": 4'))
    elif damage == "json":
        engine.path.with_suffix(".json").unlink()
    else:
        gpu(cuda={"gpu": SimpleNamespace(**{**vars(fake_cuda.ORIN), "multiProcessorCount": 4})})
    with pytest.raises(UserError, match="holds no intact fp32 engine"):
        open_here(tiny)


def test_a_version_compatible_engine_runs_on_a_later_tensorrt(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny, version_compatible=True)
    gpu(version="10.16.1.11")
    frames, right = frames_and_masks(tiny, 1)
    with open_here(tiny) as model:
        assert (model.run(frames) == right).all()
        own = make(tiny)
    with open_here(tiny) as model:  # the one that was built here goes first
        assert model.describe().versions["tensorrt"] == "10.16.1.11"
    assert own.path.exists()


def test_a_hardware_compatible_engine_runs_on_another_gpu(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny, hardware_compatible=True)
    ada = {"name": b"NVIDIA RTX 4000", "major": 8, "minor": 9, "multiProcessorCount": 48, "integrated": 0}
    gpu(cuda={"gpu": SimpleNamespace(**ada)})
    with open_here(tiny) as model:
        assert model.describe().device == "NVIDIA RTX 4000"


def test_an_engine_that_tensorrt_does_not_load(gpu: FakeGpu, tiny: Bundle) -> None:
    engine = make(tiny)
    lying = keep(engine.path, replace(engine.key, tensorrt="10.16.1.11"), {})
    gpu(version="10.16.1.11")
    with pytest.raises(
        UserError, match=r"cannot run it \(Serialization: Version tag does not match\); .*--force"
    ):
        TensorRt(tiny, lying)


def test_an_engine_with_other_ends(gpu: FakeGpu, tiny: Bundle) -> None:
    engine = make(tiny)
    engine.path.write_bytes(engine.path.read_bytes().replace(b'"mask": "UINT8"', b'"mask": "FLOAT"'))
    with pytest.raises(UserError, match=r"its tensors are \{'frame': 'UINT8', 'mask': 'FLOAT'\}, not uint8"):
        TensorRt(tiny, engine)


def test_too_little_memory_to_run(gpu: FakeGpu, tiny: Bundle) -> None:
    engine = make(tiny)
    gpu(cuda={"limit": 2000})
    with pytest.raises(UserError, match=r"cannot run it \(CUDA: memoryallocation .*; close programs"):
        TensorRt(tiny, engine)
    assert not gpu.cuda._memory
    assert not gpu.cuda._streams


def test_a_run_that_cuda_refuses_is_one_line(
    gpu: FakeGpu, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(tiny)
    frames = np.stack([frame for _, frame, _ in tiny.golden()])
    with TensorRt(tiny, engine) as model:
        failed = (gpu.cuda.cudaError_t.cudaErrorMemoryAllocation,)
        monkeypatch.setattr(gpu.cuda, "cudaStreamSynchronize", lambda stream: failed)
        with pytest.raises(UserError, match=r"^tensorrt fp32: cannot run a batch of \d+ \(CUDA: memory"):
            model.run(frames)


def test_models_for_cpus_are_not_its_own(tiny: Bundle) -> None:
    tiny.manifest["models"] = dict.fromkeys(("fp32", "fp32-cpu", "fp16", "int8", "int8-cpu"), "file")
    assert precisions("tensorrt", tiny) == ["fp32", "fp16", "int8"]


def test_no_usable_gpu(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny)
    gpu(null=True)
    with pytest.raises(MissingComponentError, match=r"^tensorrt: 10.3.0 cannot use a GPU here"):
        open_here(tiny)


@pytest.mark.parametrize("missing", ["tensorrt", "cuda-bindings"])
def test_a_missing_library(
    gpu: FakeGpu,
    tiny: Bundle,
    missing: str,
    without_tensorrt: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if missing == "tensorrt":
        without_tensorrt()
    else:
        monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingComponentError, match=f"^{missing}: cannot be imported") as caught:
        open_here(tiny)
    assert caught.value.exit_code == 3


def test_the_engine_folder_is_no_part_of_the_manifest(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny)
    assert not [
        name for name in json.loads((tiny.path / "manifest.json").read_text())["files"] if "engine" in name
    ]
    Bundle.open(tiny.path)


def test_the_gpu_times_a_run_where_it_is_asked_to(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny, batch=(1, 1, 2))
    frames, right = frames_and_masks(tiny, 5)  # parts of 2, 2 and 1: on the first lane, the second, the first
    with open_here(tiny) as model:
        model.run(frames)
        assert model.device_ms is None
        model.timed = True
        for _ in range(3):  # the first run, the one that captures, the one that launches
            assert (model.run(frames) == right).all()
            # Events 1.5 ms apart: the run's begin, then the three ends; a first lane's second end counts.
            assert model.device_ms == 4.5
        model.run(frames[:1])
        assert model.device_ms == 1.5  # the second lane's old event does not count
        model.timed = False
        model.run(frames[:1])
        assert model.device_ms is None
    assert not gpu.cuda._other


def test_a_benchmark_has_the_gpus_time_beside_the_wall_time(gpu: FakeGpu, tiny: Bundle) -> None:
    make(tiny)
    with open_here(tiny) as model:
        result = benchmark_bundle(tiny, [model], boundaries=("session",), seconds=0)
    (entry,) = result["results"]
    assert entry["device_p50_ms"] == 1.5
    assert len(entry["device_ms"]) == entry["n"] == len(entry["samples_ms"])
    assert entry["memory"]["ran"]["gpu_mb"] == (8 << 30) / 1e6
