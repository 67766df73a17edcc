"""`kd-deploy build`: what it prints, its exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import GateFailedError, MissingComponentError, UserError
from tests.runtime.gpu import FakeGpu


def test_every_precision_is_built_and_then_found(gpu: FakeGpu, tiny: Bundle, kd: Any) -> None:
    built = kd("build", tiny.path)
    assert built.code == 0
    assert built.out.count("built in") == 2
    assert f"trtexec --loadEngine={tiny.path}/engines/" in built.out
    assert "--shapes=frame:1x16x24x3" in built.out
    found = kd("build", tiny.path, "--json")
    assert [(e["cached"], e["key"]["precision"]) for e in json.loads(found.out)] == [
        (True, "fp32"),
        (True, "fp16"),
    ]
    assert found.err == ""
    parity = kd("parity", tiny.path, "--backend", "tensorrt", "--precision", "fp16", "--json")
    assert (parity.code, json.loads(parity.out)["candidate"]["backend"]) == (0, "tensorrt")


def test_the_layers_that_were_confirmed_are_said(gpu: FakeGpu, tiny: Bundle, kd: Any) -> None:
    assert "2 of 2" in kd("build", tiny.path, "--precision", "fp16").out


@pytest.mark.parametrize(
    "built", [{}, {"golden": {}}, {"golden": None}, {"golden": [], "layers": 1}, {"seconds": "long"}]
)
def test_an_engine_that_says_less_of_itself_is_found_or_built_again(
    built: dict[str, Any], gpu: FakeGpu, tiny: Bundle, kd: Any
) -> None:
    (engine,) = json.loads(kd("build", tiny.path, "--precision", "fp16", "--json").out)
    file = Path(engine["engine"]).with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"built": built}))
    outcome = kd("build", tiny.path, "--precision", "fp16")
    assert (outcome.code, outcome.err) == (0, "")
    assert ("found" if built in ({}, {"golden": {}}) else "built in") in outcome.out


def test_options_reach_the_key(gpu: FakeGpu, tiny: Bundle, kd: Any) -> None:
    arguments = ("--precision", "fp16", "--batch", "1,2,4", "--workspace", 64, "--level", 2)
    flags = ("--version-compatible", "--hardware-compatible", "--force", "--json")
    (engine,) = json.loads(kd("build", tiny.path, *arguments, *flags).out)
    assert engine["key"]["options"] == {
        "batch": [1, 2, 4],
        "workspace": 64,
        "level": 2,
        "dla": None,
        "version_compatible": True,
        "hardware_compatible": True,
    }
    (engine,) = json.loads(kd("build", tiny.path, "--precision", "fp16", "--batch", "2", "--json").out)
    assert engine["key"]["options"]["batch"] == [2, 2, 2]


@pytest.mark.parametrize("batch", ["x", "1,2", "", "1,,2", "-1", "1,2,3,4"])
def test_a_batch_that_is_none(gpu: FakeGpu, tiny: Bundle, kd: Any, batch: str) -> None:
    outcome = kd("build", tiny.path, "--batch", batch)
    assert outcome.code == 2
    assert "is no batch; write one number, or MIN,OPT,MAX such as 1,4,8" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "4,2,1"), "batch: 4,2,1 is no MIN,OPT,MAX"),
        (("--level", 9), "level: 9 is no builder optimization level"),
        (("--workspace", 0), "workspace: 0 MiB is too little"),
        (("--precision", "int8"), "holds no int8 model"),
        (("--precision", "fp16", "--dla", 0, "--workspace", 64), "dla: TensorRT 10.3.0 sees 0 such cores"),
    ],
)
def test_options_that_make_no_sense(
    gpu: FakeGpu, tiny: Bundle, kd: Any, arguments: tuple[object, ...], message: str
) -> None:
    outcome = kd("build", tiny.path, *arguments)
    assert outcome.code == 1
    assert message in outcome.error


def test_the_gate_has_its_exit_code(gpu: FakeGpu, tiny: Bundle, kd: Any) -> None:
    gpu(wrong=True)
    outcome = kd("build", tiny.path, "--precision", "fp16", "--workspace", 64)
    assert outcome.code == 4
    assert "are not PyTorch's" in outcome.error


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Precisions, by name, that cannot be built, and with which error."""
    from kd_deploy.runtime.engines import make

    real = make.build_engine

    def refuse(**errors: UserError) -> None:
        def build(bundle: Bundle, precision: str, *rest: Any, **more: Any) -> Any:
            if precision in errors:
                raise errors[precision]
            return real(bundle, precision, *rest, **more)

        monkeypatch.setattr(make, "build_engine", build)

    return refuse


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_precision_that_fails_neither_stops_the_next_nor_hides_the_others(
    gpu: FakeGpu, tiny: Bundle, kd: Any, refusing: Callable[..., None], flags: tuple[str, ...]
) -> None:
    refusing(fp32=UserError("model.fp32.onnx: TensorRT 10.3.0 cannot read it"))
    outcome = kd("build", tiny.path, "--workspace", 64, *flags)
    assert outcome.code == 1
    assert outcome.err == "error: model.fp32.onnx: TensorRT 10.3.0 cannot read it\n"
    assert "-fp16-16x24.engine" in outcome.out
    if flags:
        assert [engine["key"]["precision"] for engine in json.loads(outcome.out)] == ["fp16"]


def test_every_failure_is_said_and_the_worst_gives_the_exit_code(
    gpu: FakeGpu, tiny: Bundle, kd: Any, refusing: Callable[..., None]
) -> None:
    refusing(
        fp32=GateFailedError("the masks"), fp16=UserError("the parser"), int8=MissingComponentError("a GPU")
    )
    names = (argument for name in ("fp16", "int8", "fp32") for argument in ("--precision", name))
    outcome = kd("build", tiny.path, *names)
    assert outcome.code == 4
    assert outcome.err.splitlines() == ["error: the parser", "error: a GPU", "error: the masks"]
    assert outcome.out == ""


def test_without_tensorrt(gpu: FakeGpu, tiny: Bundle, kd: Any, without_tensorrt: Callable[[], None]) -> None:
    without_tensorrt()
    outcome = kd("build", tiny.path)
    assert outcome.code == 3
    assert outcome.error.startswith(
        "tensorrt: cannot be imported (libnvinfer.so.10: cannot open shared object file"
    )
    assert outcome.error.endswith("or carry the bundle to the device and run kd-deploy build BUNDLE there")
