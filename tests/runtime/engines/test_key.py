"""What makes two engines the same, and where one may run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kd_deploy.runtime.engines.key import BuildOptions, EngineKey
from kd_deploy.runtime.errors import UserError

KEY = EngineKey(
    onnx="0123456789abcdef" * 4,
    tensorrt="10.3.0",
    platform="linux-x86_64",
    gpu="NVIDIA GeForce RTX 4090",
    capability="8.9",
    multiprocessors=128,
    precision="fp16",
    size=(512, 1024),
    options=BuildOptions(batch=(1, 4, 8), level=5),
)


def test_the_file_name_of_the_design() -> None:
    assert KEY.stem == "0123456789ab-trt10.3.0-nvidia-geforce-rtx-4090-fp16-512x1024"


def test_json_gives_the_key_back() -> None:
    for key in (KEY, replace(KEY, options=BuildOptions())):
        assert EngineKey.from_json(json.loads(json.dumps(key.to_json()))) == key


@pytest.mark.parametrize(
    "other",
    [
        {"onnx": "f" * 64},
        {"tensorrt": "10.3.1"},
        {"platform": "linux-aarch64"},
        {"gpu": "Orin"},
        {"capability": "8.7"},
        {"multiprocessors": 4},
        {"precision": "fp32"},
        {"size": (512, 512)},
    ],
)
def test_an_engine_runs_only_where_everything_fits(other: dict[str, Any]) -> None:
    here = replace(KEY, options=BuildOptions())
    assert KEY.runs_on(here)  # how it was built is its builder's affair
    assert not KEY.runs_on(replace(here, **other))


@pytest.mark.parametrize("platform", ["linux-aarch64", "win-amd64"])
def test_no_option_takes_an_engine_to_another_platform(platform: str) -> None:
    key = replace(KEY, options=BuildOptions(version_compatible=True, hardware_compatible=True))
    assert key.runs_on(replace(KEY, gpu="Orin", capability="8.7"))
    assert not key.runs_on(replace(KEY, gpu="Orin", capability="8.7", platform=platform))


def test_a_key_of_before_platforms_is_no_key() -> None:
    value = KEY.to_json()
    del value["platform"]
    with pytest.raises(TypeError):
        EngineKey.from_json(value)


@pytest.mark.parametrize(
    ("built", "now", "runs"),
    [
        ("10.3.0", "10.3.0", True),
        ("10.3.0", "10.16.1.11", True),
        ("10.16.1.11", "10.3.0", False),
        ("10.3.0", "11.4.0.106", False),
    ],
)
def test_a_version_compatible_engine_goes_forward_only(built: str, now: str, runs: bool) -> None:
    key = replace(KEY, tensorrt=built, options=BuildOptions(version_compatible=True))
    assert key.runs_on(replace(KEY, tensorrt=now)) == runs
    assert not key.runs_on(replace(KEY, tensorrt=now, gpu="another"))


@pytest.mark.parametrize(
    ("capability", "runs"), [("7.5", False), ("8.0", True), ("8.7", True), ("12.0", True)]
)
def test_a_hardware_compatible_engine_runs_from_ampere_on(capability: str, runs: bool) -> None:
    key = replace(KEY, options=BuildOptions(hardware_compatible=True))
    assert key.runs_on(replace(KEY, gpu="another", capability=capability, multiprocessors=2)) == runs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": (4, 2, 8)}, "^batch: 4,2,8 is no MIN,OPT,MAX"),
        ({"batch": (0, 1, 1)}, "^batch: 0,1,1 is no"),
        ({"workspace": 0}, "^workspace: 0 MiB is too little"),
        ({"level": 6}, "^level: 6 is no builder optimization level; choose 0 to 5"),
        ({"level": -1}, "^level: -1"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BuildOptions(**options)
