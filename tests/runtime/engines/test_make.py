"""From a bundle to an engine: built once, found again, rebuilt where anything does not match, kept only if right."""

from __future__ import annotations

import json
import shlex
import sysconfig
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.make import ATTEMPTS, build_engine
from kd_deploy.runtime.errors import GateFailedError, UserError
from tests.runtime import fake_cuda
from tests.runtime.gpu import FakeGpu

pytestmark = pytest.mark.usefixtures("in_process")


def left(bundle: Bundle) -> list[str]:
    folder = bundle.path / "engines"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def with_model(bundle: Bundle, model: bytes) -> Bundle:
    """The bundle with another fp16 model."""
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    file = bundle.path / "model.fp16.onnx"
    file.write_bytes(model)
    manifest["files"][file.name] = sha256(file)
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(bundle.path)


def test_an_engine_and_its_json(gpu: FakeGpu, tiny: Bundle) -> None:
    percents: list[tuple[int, int]] = []
    options = BuildOptions(batch=(1, 2, 4))
    engine = build_engine(tiny, "fp16", options, lambda *progress: percents.append(progress))
    onnx = sha256(tiny.model_file("fp16"))
    stem = f"{onnx[:12]}-trt10.3.0-orin-fp16-16x24"
    assert left(tiny) == [f"{stem}.engine", f"{stem}.json"]
    assert engine.path == tiny.path / "engines" / f"{stem}.engine"
    assert engine.path.read_bytes().startswith(b'{"version": "10.3.0"')  # no prefix of ours
    assert not engine.cached
    assert percents[-1] == (100, 100)
    written = json.loads((tiny.path / "engines" / f"{stem}.json").read_text())
    assert written["sha256"] == sha256(engine.path)
    assert written["key"] == {
        "onnx": onnx,
        "tensorrt": "10.3.0",
        "platform": sysconfig.get_platform(),
        "gpu": "Orin",
        "capability": "8.7",
        "multiprocessors": 8,
        "precision": "fp16",
        "size": [16, 24],
        "options": {
            "batch": [1, 2, 4],
            "workspace": None,
            "level": None,
            "dla": None,
            "version_compatible": False,
            "hardware_compatible": False,
        },
    }
    built = written["built"]
    assert (built["typing"], built["attempts"], built["layers"]["confirmed"]) == ("strongly typed", 1, 2)
    assert built["golden"]["frames"] == 2
    assert built["golden"]["pixel_agreement"] > 98
    assert built["environment"]["python"]
    assert engine.trtexec == f"trtexec --loadEngine={engine.path} --shapes=frame:2x16x24x3"
    assert json.loads((tiny.path / "parity.json").read_text())["candidate"]["backend"] == "tensorrt"
    spaced = replace(engine, path=Path("my engines/it's one.engine"))
    assert shlex.split(spaced.trtexec)[1] == f"--loadEngine={spaced.path}"


def test_a_second_build_finds_the_first_ones_engine(gpu: FakeGpu, tiny: Bundle) -> None:
    first, second = (build_engine(tiny, "fp16", BuildOptions(batch=(1, 1, 2))) for _ in range(2))
    assert len(gpu.builds) == 1
    assert second.cached
    assert second == replace(first, cached=True, facts=second.facts)
    assert second.trtexec == first.trtexec
    assert not build_engine(tiny, "fp16", BuildOptions(batch=(1, 1, 2)), force=True).cached
    assert len(gpu.builds) == 2


def test_other_options_make_another_engine(gpu: FakeGpu, tiny: Bundle) -> None:
    for level in (1, 2, 2):
        build_engine(tiny, "fp16", BuildOptions(level=level))
    assert [told["level"] for told in gpu.builds] == [1, 2]
    assert len(left(tiny)) == 2  # it took the other's place


def test_another_tensorrt_gpu_or_board_builds_its_own(gpu: FakeGpu, tiny: Bundle) -> None:
    nano = SimpleNamespace(**{**vars(fake_cuda.ORIN), "multiProcessorCount": 4})
    build_engine(tiny, "fp16")
    gpu(version="10.16.1.11")
    assert not build_engine(tiny, "fp16").cached
    assert len(left(tiny)) == 4
    gpu(cuda={"gpu": nano})  # the same name, and so the same file
    assert not build_engine(tiny, "fp16").cached
    assert len(left(tiny)) == 4
    gpu()
    assert not build_engine(tiny, "fp16").cached


DAMAGE = ("engine", "json", "hash", "key", "schema", "no engine", "list", "old", "nested", "golden", "shape")


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_match_is_rebuilt(gpu: FakeGpu, tiny: Bundle, damage: str) -> None:
    path = build_engine(tiny, "fp16").path
    file = path.with_suffix(".json")
    value = json.loads(file.read_text())
    if damage == "engine":
        path.write_bytes(path.read_bytes() + b"\0")
    elif damage == "no engine":
        path.unlink()
    elif damage == "json":
        file.write_text(file.read_text()[:100])
    elif damage == "old":
        del value["key"]["platform"]
        file.write_text(json.dumps(value))
    elif damage == "list":
        file.write_text("[]")
    elif damage == "nested":
        file.write_text("[" * 99_999)
    elif damage in ("golden", "shape"):
        value["built"] |= {"golden": {"golden": None}, "shape": {"trtexec_shape": 5}}[damage]
        file.write_text(json.dumps(value))
    else:
        change = {"hash": ("sha256", "0" * 64), "schema": ("schema", 99)}
        name, new = change.get(damage, ("key", {**value["key"], "onnx": "0" * 64}))
        file.write_text(json.dumps({**value, name: new}))
    assert not build_engine(tiny, "fp16").cached
    assert len(gpu.builds) == 2
    assert build_engine(tiny, "fp16").cached


def test_an_engine_from_another_platform_is_rebuilt(
    gpu: FakeGpu, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = BuildOptions(hardware_compatible=True)
    build_engine(tiny, "fp16", options)
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-another")
    assert not build_engine(tiny, "fp16", options).cached
    assert len(left(tiny)) == 2  # the same name: it took the other's place


def test_another_model_under_the_same_name_is_rebuilt(gpu: FakeGpu, tiny: Bundle) -> None:
    build_engine(tiny, "fp16")
    model = (tiny.path / "model.fp16.onnx").read_bytes()
    other = with_model(tiny, model + b"\x12\x03new")  # producer_name
    assert not build_engine(other, "fp16").cached


def test_masks_that_are_not_pytorchs_fail_the_gate_and_nothing_is_kept(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(wrong=True)
    with pytest.raises(GateFailedError) as caught:
        build_engine(tiny, "fp16")
    assert caught.value.exit_code == 4
    assert "the fp16 engine's masks of the golden frames are not PyTorch's: 0.000 % of the pixels" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert left(tiny) == []
    assert not gpu.cuda._memory


def test_a_wrong_precision_is_not_kept_either(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(engine_types="FLOAT")
    with pytest.raises(GateFailedError, match="asked for in fp16"):
        build_engine(tiny, "fp16")
    assert left(tiny) == []


def test_an_engine_that_fails_leaves_the_old_one(gpu: FakeGpu, tiny: Bundle) -> None:
    before = build_engine(tiny, "fp16").path.read_bytes()
    gpu(wrong=True)
    with pytest.raises(GateFailedError):
        build_engine(tiny, "fp16", force=True)
    gpu()
    found = build_engine(tiny, "fp16")
    assert found.cached
    assert found.path.read_bytes() == before


def test_out_of_memory_is_tried_again_with_less(
    gpu: FakeGpu, tiny: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu(memory=300)
    options = BuildOptions(workspace=1000, level=4)
    engine = build_engine(tiny, "fp16", options)
    assert [(told["workspace"], told["level"]) for told in gpu.builds] == [(1000, 4), (500, 3), (250, 2)]
    assert (engine.facts["workspace"], engine.facts["level"], engine.facts["attempts"]) == (250, 2, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "ran out of memory" in lines[0]
    assert lines[0].endswith("building again with a workspace of 500 MiB at level 3")
    assert build_engine(tiny, "fp16", options).cached  # the key is what was asked for


def test_memory_that_never_suffices_ends_in_one_line(gpu: FakeGpu, tiny: Bundle) -> None:
    gpu(memory=0)
    with pytest.raises(UserError, match=rf"; {ATTEMPTS} builds were tried, close other programs") as caught:
        build_engine(tiny, "fp16", BuildOptions(workspace=512))
    assert "\n" not in str(caught.value)
    assert [told["workspace"] for told in gpu.builds] == [512, 256, 128, 64]
    assert [told["level"] for told in gpu.builds] == [3, 2, 1, 0]
    assert left(tiny) == []


def test_a_folder_that_refuses_says_so_before_the_build(gpu: FakeGpu, tiny: Bundle) -> None:
    (tiny.path / "engines").write_text("a file")
    with pytest.raises(UserError, match=r"engines/.*\.engine: cannot be written"):
        build_engine(tiny, "fp16")
    assert not gpu.builds


def test_a_precision_that_the_bundle_lacks(gpu: FakeGpu, tiny: Bundle) -> None:
    with pytest.raises(UserError, match="holds no int8 model, only fp32, fp16"):
        build_engine(tiny, "int8")


def test_the_engine_of_a_fixed_batch_needs_no_shape_in_trtexec(gpu: FakeGpu, tmp_path: Path) -> None:
    from tests.runtime.gpu import write_bundle

    engine = build_engine(write_bundle(tmp_path / "fixed", batch=2), "fp16")
    assert engine.trtexec == f"trtexec --loadEngine={engine.path}"


def test_a_free_size_needs_its_shape_in_trtexec_though_the_batch_is_fixed(
    gpu: FakeGpu, tmp_path: Path
) -> None:
    from tests.runtime.gpu import write_bundle

    bundle = write_bundle(tmp_path / "free", batch=2)
    model = onnx.load(bundle.model_file("fp16"))
    for end in (*model.graph.input, *model.graph.output):
        for dim, name in zip(end.type.tensor_type.shape.dim[1:3], "HW", strict=True):
            dim.dim_param = name
    engine = build_engine(with_model(bundle, model.SerializeToString()), "fp16")
    assert engine.facts["batch"] == (2, 2, 2)
    assert gpu.builds[0]["profile"] == [(2, 16, 24, 3)] * 3
    assert engine.trtexec == f"trtexec --loadEngine={engine.path} --shapes=frame:2x16x24x3"
