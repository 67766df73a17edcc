from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone

import cv2  # noqa: F401  (OpenCV's version is read from it where pip knows none)
import numpy as np
import onnx
import pytest

from kd_deploy.runtime.environment import cores, environment, power_mode, versions


def test_it_says_where_a_number_comes_from():
    found = json.loads(json.dumps(environment()))
    keys = {"machine", "cpu", "cores", "os", "python", "versions", "load_average", "power_mode", "date"}
    assert set(found) == keys
    assert found["versions"] == versions()
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["onnx"] == onnx.__version__
    assert found["versions"]["opencv"]
    assert found["python"] == platform.python_version()
    assert 1 <= found["cores"] == cores() <= (os.cpu_count() or 1)
    assert found["machine"]
    assert found["cpu"]
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found["date"])
    assert abs(age.total_seconds()) < 60


@pytest.mark.parametrize(
    ("script", "mode"),
    [
        ("printf 'NV Power Mode: MAXN\\n0\\n'", "MAXN"),
        ("printf 'NVPM WARN: fan mode is not set!\\nNV Power Mode: MODE_15W_6CORE\\n2\\n'", "MODE_15W_6CORE"),
        ("echo 'NVPM ERROR: no permission' >&2; exit 255", None),
    ],
)
def test_a_jetsons_power_mode_is_asked_for_and_never_set(tmp_path, monkeypatch, script, mode):
    program = tmp_path / "nvpmodel"
    program.write_text(f'#!/bin/sh\necho "$@" > $0.arguments\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_mode() == mode
    assert (tmp_path / "nvpmodel.arguments").read_text() == "-q\n"


def test_elsewhere_there_is_no_power_mode(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert power_mode() is None


def test_nothing_heavy_is_imported_for_it():
    code = (
        "import sys; from kd_deploy.runtime.environment import environment; environment(); "
        "print(*{'numpy', 'cv2', 'torch', 'onnxruntime', 'tensorrt'} & set(sys.modules))"
    )
    path = os.pathsep.join(entry or "." for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
