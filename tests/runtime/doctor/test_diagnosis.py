"""The whole machine; without NumPy, OpenCV or torch in the process that asks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kd_deploy.runtime.doctor import diagnosis
from kd_deploy.runtime.doctor.checks import BACKEND, CHECKS
from kd_deploy.runtime.doctor.diagnosis import diagnose
from kd_deploy.runtime.doctor.finding import BROKEN, MISSING, WORKS, Finding
from kd_deploy.runtime.doctor.platforms import Platform


def test_findings_remedies_and_conflicts_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    works = {"python", "numpy", "opencv", "openvino", "tensorrt"}
    findings = [
        Finding(check.name, WORKS, "2.0")
        if check.name in works
        else Finding(check.name, MISSING, reason="is not installed")
        for check in CHECKS
    ]
    monkeypatch.setattr(diagnosis, "run_checks", lambda checks, told: findings)
    found = diagnose(Platform("Linux", "aarch64", 7, "NVIDIA Jetson AGX Thor"))
    assert found.runs_on == ["openvino", "tensorrt"]
    assert len(found.conflicts) == 1  # numpy 2 with tensorrt 2.0
    remedies = {finding.name: text for _, finding, text in found.entries}
    assert remedies["numpy"] == ""
    assert "cuda-bindings==13" in remedies["cuda-bindings"]


@pytest.mark.parametrize("ill", ["numpy", "opencv"])
def test_no_bundle_runs_without_what_every_bundle_needs(ill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding(check.name, BROKEN if check.name == ill else WORKS, reason="no") for check in CHECKS]
    monkeypatch.setattr(diagnosis, "run_checks", lambda checks, told: findings)
    assert diagnose().runs_on == []


def test_no_backend_no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding(check.name, MISSING if check.role == BACKEND else WORKS) for check in CHECKS]
    monkeypatch.setattr(diagnosis, "run_checks", lambda checks, told: findings)
    assert diagnose().runs_on == []


def test_the_one_who_asks_needs_no_library_at_all() -> None:
    blocked = ("numpy", "cv2", "torch", "onnx", "onnxruntime", "click", "rich")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "import kd_deploy.runtime.doctor.diagnosis, kd_deploy.runtime.doctor.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
