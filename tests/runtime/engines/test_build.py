"""One build in this process: what TensorRT is told, and every way in which it can refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.engines.build import STRONG, OutOfMemoryError, build
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.errors import GateFailedError, MissingComponentError, UserError
from tests.runtime.gpu import FakeGpu, write_bundle

VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")


def request_for(bundle: Bundle, precision: str = "fp16", **options: Any) -> Request:
    model, engine = bundle.model_file(precision), bundle.path / "out.engine"
    return Request(str(model), str(engine), precision, bundle.size, BuildOptions(**options))


def ignore(percent: int) -> None:
    pass


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_is_strongly_typed_and_confirmed_in_every_version(
    gpu: FakeGpu, tiny: Bundle, version: str
) -> None:
    gpu(version=version)
    percents: list[int] = []
    built = build(request_for(tiny), percents.append)
    assert built.typing == STRONG
    assert (built.layers.compute, built.layers.asked, built.layers.confirmed) == (2, 2, 2)
    assert (built.layers.other, built.layers.unknown) == ({}, 0)
    (told,) = gpu.builds
    assert told["strong"]
    assert told["verbosity"] == "DETAILED"
    assert "TF32" in told["flags"]
    assert not {"FP16", "INT8", "BF16"} & set(told["flags"])
    assert told["profile"] == [(1, 16, 24, 3)] * 3
    assert percents == sorted(set(percents))
    assert percents[-1] == 100
    assert json.loads((tiny.path / "out.engine").read_bytes().partition(b"\n")[0]) == json.loads(
        json.dumps(told)
    )


def test_fp32_is_not_tf32(gpu: FakeGpu, tiny: Bundle) -> None:
    build(request_for(tiny, "fp32"), ignore)
    assert gpu.builds[0]["flags"] == []


def test_every_option_reaches_tensorrt(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(dla=2)
    options = {"batch": (1, 2, 4), "workspace": 321, "level": 1, "dla": 1}
    build(request_for(tiny, **options, version_compatible=True, hardware_compatible=True), ignore)
    (told,) = gpu.builds
    assert told["profile"] == [(1, 16, 24, 3), (2, 16, 24, 3), (4, 16, 24, 3)]
    assert (told["workspace"], told["level"], told["dla"], told["hardware"]) == (321, 1, 1, "AMPERE_PLUS")
    assert told["flags"] == ["GPU_FALLBACK", "TF32", "VERSION_COMPATIBLE"]


def test_workspace_comes_from_the_free_memory(
    gpu: FakeGpu, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson's GPU shares the system's memory, of which CUDA does not count what could be freed."""
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 8000000 kB\nMemFree: 1000 kB\nMemAvailable: 4194304 kB\n")
    monkeypatch.setattr("kd_deploy.runtime.cuda._MEMORY", memory)
    started: list[int] = []
    build(request_for(tiny), ignore, started.append)
    gpu.cuda.cudaGetDeviceProperties(0)[1].integrated, before = 0, 1
    try:
        build(request_for(tiny), ignore, started.append)
    finally:
        gpu.cuda.cudaGetDeviceProperties(0)[1].integrated = before
    assert started == [2048, int((8 << 10) * 0.8)]


def test_timings_are_kept_for_the_next_build(
    gpu: FakeGpu, tiny: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import os

    for _ in range(2):
        build(request_for(tiny), ignore)
    (file,) = (Path(os.environ["XDG_CACHE_HOME"]) / "kd-deploy").iterdir()
    assert file.name == "trt10.3.0-orin.timing"
    file.write_bytes(b"damaged")
    build(request_for(tiny), ignore)
    assert [told["cache"] for told in gpu.builds] == ["", "+1", ""]
    assert file.read_bytes() == b"+1"


def test_a_node_that_tensorrt_does_not_know_is_named(gpu: FakeGpu, tiny: Bundle) -> None:
    errors = [("node_resize", "Resize", "no importer\nfor this mode"), ("node_x", "Topk", "k")]
    gpu(parse_errors=errors)
    with pytest.raises(UserError) as caught:
        build(request_for(tiny), ignore)
    assert str(caught.value).startswith(
        f"{tiny.path}/model.fp16.onnx: TensorRT 10.3.0 cannot read node node_resize (Resize): no importer for this "
        "mode, and 1 more; use a newer TensorRT"
    )
    assert not gpu.builds


def test_a_file_that_is_no_onnx(gpu: FakeGpu, tiny: Bundle) -> None:
    request = request_for(tiny)
    Path(request.onnx).write_bytes(b"no model")
    with pytest.raises(UserError, match=r"cannot read it \(ModelImporter: failed to parse the file\)$"):
        build(request, ignore)


def test_no_usable_gpu_is_a_missing_component(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(null=True)
    with pytest.raises(
        MissingComponentError, match=r"^tensorrt: 10.3.0 cannot use a GPU.*initialization failure"
    ):
        build(request_for(tiny, workspace=64), ignore)
    gpu(cuda={"gpu": None})
    with pytest.raises(MissingComponentError, match=r"^GPU: CUDA: insufficientdriver .* CUDA 12.6, or carry"):
        build(request_for(tiny), ignore)


def test_too_little_memory(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(memory=1000)
    with pytest.raises(OutOfMemoryError, match=r"ran out of memory .*Cuda Runtime \(out of memory\)"):
        build(request_for(tiny, workspace=1001), ignore)
    assert len(gpu.builds) == 1  # weak typing would not help


def test_too_little_memory_to_look_at_the_engine(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(no_context=True)
    with pytest.raises(OutOfMemoryError, match=r"cannot load what it has just built \(.*out of memory\)$"):
        build(request_for(tiny), ignore)


@pytest.mark.parametrize(("version", "tries"), [("10.3.0", 2), ("10.16.1.11", 1), ("11.4.0.106", 1)])
def test_a_network_that_cannot_be_built(gpu: FakeGpu, tiny: Bundle, version: str, tries: int) -> None:
    gpu(version=version, fails=True)
    with pytest.raises(UserError, match=r"cannot build it .*any implementation for node conv_1"):
        build(request_for(tiny), ignore)
    assert len(gpu.builds) == tries


def test_where_strong_typing_fails_on_old_versions_the_flag_is_tried_and_named(
    gpu: FakeGpu, tiny: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu(strong_fails=True)
    built = build(request_for(tiny), ignore)
    assert built.typing == "weakly typed with the flag FP16 of TensorRT 10, which may ignore it"
    assert [told["strong"] for told in gpu.builds] == [True, False]
    assert gpu.builds[1]["flags"] == ["FP16", "TF32"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fp16: built weakly typed with the flag FP16 of TensorRT 10")
    with pytest.raises(UserError, match="cannot build it"):
        build(request_for(tiny, "fp32"), ignore)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_in_another_precision_fails_the_gate(gpu: FakeGpu, tiny: Bundle, version: str) -> None:
    gpu(version=version, engine_types="FLOAT")
    with pytest.raises(GateFailedError) as caught:
        build(request_for(tiny), ignore)
    assert (
        "2 of the 2 layers asked for in fp16 (100 %) run in another precision: conv_1 (fp32), conv_2 (fp32); the "
        "engine is not kept"
    ) in str(caught.value)


def test_a_model_that_is_not_in_its_own_precision_fails_the_gate(gpu: FakeGpu, tiny: Bundle) -> None:
    request = request_for(tiny)
    Path(request.onnx).write_bytes(tiny.model_file("fp32").read_bytes())
    with pytest.raises(
        GateFailedError, match="none of the graph's 2 convolutions and matrix products is fp16"
    ):
        build(request, ignore)


def test_a_fixed_batch(gpu: FakeGpu, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "fixed", batch=2)
    built = build(request_for(bundle), ignore)
    assert (built.batch, built.dynamic) == ((2, 2, 2), False)
    assert gpu.builds[0]["profile"] is None
    with pytest.raises(UserError, match="its batch is fixed at 2; leave --batch out"):
        build(request_for(bundle, batch=(1, 1, 1)), ignore)


@pytest.mark.parametrize(("cores", "core"), [(0, 0), (2, 2), (2, -1)])
def test_an_accelerator_that_is_not_there(gpu: FakeGpu, tiny: Bundle, cores: int, core: int) -> None:
    gpu(dla=cores)
    with pytest.raises(
        UserError, match=f"^dla: TensorRT 10.3.0 sees {cores} such cores here, not number {core};"
    ):
        build(request_for(tiny, dla=core), ignore)


def test_an_accelerator_has_no_fp32(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(dla=1)
    with pytest.raises(UserError, match=r"^dla: it computes in fp16 and int8, not in fp32"):
        build(request_for(tiny, "fp32", dla=0), ignore)
