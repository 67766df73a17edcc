"""Libraries as they are here, absent, and broken; each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding

Shim = Callable[[str, str], None]
Run = Callable[[str], Finding]

MODULES = {"numpy": "numpy", "opencv": "cv2", "torch": "torch", "onnx": "onnx", "onnxsim": "onnxsim"}

JETSON = """
General configuration for OpenCV 4.8.0 =====================================
  GUI:                           GTK3
    GTK+:                        YES (ver 3.24.33)

  Video I/O:
    DC1394:                      NO
    FFMPEG:                      YES
      avcodec:                   YES (58.134.100)
    GStreamer:                   YES (1.20.3)
    v4l/v4l2:                    YES (linux/videodev2.h)
"""


@pytest.mark.parametrize(
    ("name", "version"), [("python", None), ("numpy", np.__version__), ("opencv", cv2.__version__)]
)
def test_what_the_runtime_needs_works_here(name: str, version: str | None, check: Run) -> None:
    finding = check(name)
    assert (finding.state, finding.reason) == (WORKS, "")
    assert version is None or finding.version == version


@pytest.mark.parametrize("name", MODULES)
def test_a_library_that_is_not_installed(name: str, shim: Shim, check: Run) -> None:
    module = MODULES[name]
    shim(module, f"raise ModuleNotFoundError(\"No module named '{module}'\", name={module!r})")
    finding = check(name)
    assert (finding.state, finding.reason, finding.version) == (MISSING, "is not installed", None)


@pytest.mark.parametrize(
    ("code", "reason", "lacks"),
    [
        (
            'raise ImportError("libGL.so.1: cannot open shared object file: No such file")',
            "libGL",
            "libGL.so.1",
        ),
        ('raise AttributeError("_ARRAY_API not found")', "_ARRAY_API not found", None),
        ("import no_such_module", "needs no_such_module, which is not installed", None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed: SIGSEGV", None),
    ],
)
def test_a_library_that_cannot_be_imported(
    code: str, reason: str, lacks: str | None, shim: Shim, check: Run
) -> None:
    shim("cv2", code)
    finding = check("opencv")
    assert (finding.state, finding.lacks) == (BROKEN, lacks)
    assert finding.reason.startswith(reason)


def test_an_opencv_that_reads_another_picture_than_it_wrote(shim: Shim, check: Run) -> None:
    shim(
        "cv2",
        "import numpy as np\n__version__, IMREAD_COLOR = '4.8.0', 1\n"
        "def imencode(suffix, picture): return True, b''\n"
        "def imdecode(data, flags): return np.zeros((8, 8, 3), np.uint8)\n"
        f"def getBuildInformation(): return {JETSON!r}\n",
    )
    finding = check("opencv")
    assert (finding.state, finding.reason) == (BROKEN, "a picture that was written is read as another")
    assert finding.detail == "GUI GTK3, FFMPEG, GStreamer, V4L2"


def test_a_numpy_that_multiplies_wrongly(shim: Shim, check: Run) -> None:
    shim(
        "numpy",
        "__version__, float32 = '2.0.0', None\nclass Eye:\n    def __matmul__(self, other): return self\n"
        "    def __eq__(self, other): return self\n    def all(self): return False\n"
        "def eye(size, dtype): return Eye()\n",
    )
    assert check("numpy").reason == "a product of two matrices is wrong"


def test_the_training_side(shim: Shim, check: Run) -> None:
    shim(
        "torch",
        "__version__ = '2.15.0'\nclass version: cuda = '13.2'\nclass cuda:\n    is_available = lambda: True\n"
        "class ones:\n    def __init__(self, count): self.count = count\n    def sum(self): return self.count\n",
    )
    assert check("torch") == Finding(
        "torch", WORKS, "2.15.0", "built for CUDA 13.2, sees a GPU", facts={"cuda": "13.2"}
    )


def test_the_export_side(shim: Shim, check: Run) -> None:
    assert check("onnx").state == WORKS
    shim("onnxsim", "__version__ = 'v0.8.1'")
    assert check("onnxsim") == Finding("onnxsim", FOUND, "0.8.1")
