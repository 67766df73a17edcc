"""`kd-deploy doctor`: its table, its JSON, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.runtime.doctor import diagnosis
from kd_deploy.runtime.doctor.checks import CHECKS
from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding
from kd_deploy.runtime.doctor.platforms import Platform

COMPONENT = {
    "name": str,
    "state": str,
    "version": (str, type(None)),
    "detail": str,
    "reason": str,
    "lacks": (str, type(None)),
    "facts": dict,
    "for": str,
    "remedy": (str, type(None)),
}

ILL = {
    "torch": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "onnxscript": "raise ModuleNotFoundError(name='ml_dtypes')\n",
    "onnxsim": "raise ImportError('undefined symbol: _ZN4onnx')\n",
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the checks find: all works, but for these."""

    def make(*findings: Finding, platform: Platform | None = None) -> None:
        ill = {finding.name: finding for finding in findings}
        every = [ill.get(check.name, Finding(check.name, WORKS, "1.0")) for check in CHECKS]
        monkeypatch.setattr(diagnosis, "run_checks", lambda checks, told: every)
        monkeypatch.setattr(diagnosis, "detect", lambda: platform or Platform("Linux", "x86_64"))

    return make


def test_this_machine_as_json(kd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for slow in ("torch", "onnxscript", "onnxsim"):  # seconds each; here they are broken in three ways
        (tmp_path / f"{slow}.py").write_text(ILL[slow])
    monkeypatch.syspath_prepend(tmp_path)
    outcome = kd("doctor", "--json")
    found = json.loads(outcome.out)
    assert set(found) == {"platform", "components", "conflicts", "runs_on"}
    assert [component["name"] for component in found["components"]] == [check.name for check in CHECKS]
    for component in found["components"]:
        assert set(component) == set(COMPONENT)
        assert all(isinstance(component[key], kind) for key, kind in COMPONENT.items())
        assert component["state"] in (WORKS, FOUND, MISSING, BROKEN)
        assert bool(component["remedy"]) == (
            bool(component["reason"]) or component["state"] in (MISSING, BROKEN)
        )
    ill = {c["name"]: (c["state"], c["reason"]) for c in found["components"] if c["name"] in ILL}
    assert ill == {
        "torch": (BROKEN, "crashed: SIGSEGV"),
        "onnxscript": (BROKEN, "needs ml_dtypes, which is not installed"),
        "onnxsim": (BROKEN, "undefined symbol: _ZN4onnx"),
    }
    assert "onnxruntime-cpu" in found["runs_on"]
    assert outcome.code == 0
    assert outcome.err.startswith(f"checking {len(CHECKS)} components")


def test_the_table_the_steps_and_what_the_machine_can_do(kd: Any, machine: Any) -> None:
    lacks = "libnvinfer.so.10"
    machine(
        Finding("tensorrt", BROKEN, reason=f"{lacks}: cannot open shared object file", lacks=lacks),
        Finding("cuda-bindings", MISSING, reason="is not installed"),
        Finding(
            "opencv", WORKS, "4.10", facts={"distributions": ["opencv-python", "opencv-python-headless"]}
        ),
    )
    outcome = kd("doctor")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "desktop Linux (x86_64)"
    (row,) = [line for line in lines if line.startswith("│ tensorrt")]
    assert "broken" in row
    assert f"{lacks}: cannot open shared object file" in row
    steps = lines[lines.index(next(line for line in lines if line.startswith("1. "))) :]
    assert steps == [
        "1. opencv: opencv-python and opencv-python-headless are both installed and overwrite each other",
        "   pip uninstall -y opencv-python opencv-python-headless, then pip install opencv-python",
        "2. cuda-bindings (tensorrt), tensorrt (backend)",
        "   with an NVIDIA GPU, in kd-deploy's checkout: pip install -e '.[tensorrt]'",
        "runs bundles on: onnxruntime-cpu, openvino, onnxruntime-cuda",
    ]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_machine_that_runs_nothing(arguments: tuple[str, ...], kd: Any, machine: Any) -> None:
    names = ("onnxruntime-cpu", "onnxruntime-cuda", "openvino", "tensorrt")
    machine(*(Finding(name, MISSING, reason="is not installed") for name in names))
    outcome = kd("doctor", *arguments)
    assert outcome.code == 3
    assert outcome.err.splitlines()[-1] == (
        "error: doctor: no bundle can be run here; do one of the steps that kd-deploy doctor names"
    )
    if arguments:
        assert json.loads(outcome.out)["runs_on"] == []
    else:
        assert outcome.out.splitlines()[-1] == "runs bundles on: nothing"


def test_a_jetson_is_named(kd: Any, machine: Any) -> None:
    machine(platform=Platform("Linux", "aarch64", 6, "NVIDIA Jetson Orin Nano"))
    assert kd("doctor").out.startswith("JetPack 6 (NVIDIA Jetson Orin Nano)\n")
