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

from kd_deploy.runtime.environment import cores, environment, versions


def test_it_says_where_a_number_comes_from():
    found = json.loads(json.dumps(environment()))
    assert set(found) == {"machine", "cpu", "cores", "os", "python", "versions", "load_average", "date"}
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
