"""No library reports on its user: what it would keep and send is looked for in a home folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
"""What keeps the libraries silent, or not, whatever kd-deploy does."""


def run(script: str, home: Path) -> list[Path]:
    """The files that a script leaves in its home folder."""
    environment = {key: value for key, value in os.environ.items() if key not in ASKED}
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment | {"HOME": str(home)}, timeout=60
    )
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "first", ["kd_deploy.runtime, onnxruntime", "kd_deploy.cli, onnxruntime", "kd_deploy.export.qdq"]
)
def test_onnxruntime(first: str, tmp_path: Path) -> None:
    assert not run(f"import {first}", tmp_path)


def test_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    script = """
import sys
from kd_deploy.runtime.backends.openvino import _library
_library()
assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
import openvino_telemetry  # the program's own may use it"""
    assert not run(script, tmp_path)


def test_openvino_in_doctor(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    assert not run("from kd_deploy.runtime.doctor.backends import openvino; openvino()", tmp_path)


def test_who_wants_to_report_may() -> None:
    script = "import os, kd_deploy.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "0\n"
