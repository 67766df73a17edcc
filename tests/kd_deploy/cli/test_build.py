"""`kd-deploy build`: what it prints, its exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kd_deploy.runtime.bundle import Bundle
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


def test_without_tensorrt(gpu: FakeGpu, tiny: Bundle, kd: Any, without_tensorrt: Callable[[], None]) -> None:
    without_tensorrt()
    outcome = kd("build", tiny.path)
    assert outcome.code == 3
    assert outcome.error.startswith(
        "tensorrt: cannot be imported (libnvinfer.so.10: cannot open shared object file"
    )
    assert outcome.error.endswith("or carry the bundle to the device and run kd-deploy build BUNDLE there")
