"""The library's names: there, light, and the same objects as in their modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

import kd_deploy.runtime
from kd_deploy.runtime.model import open_model


@pytest.mark.parametrize("name", kd_deploy.runtime.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(kd_deploy.runtime, name).__module__.startswith("kd_deploy.runtime.")


def test_a_name_is_the_modules_own() -> None:
    assert kd_deploy.runtime.open_model is open_model


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'open_modle'"):
        _ = kd_deploy.runtime.open_modle  # type: ignore[attr-defined]


def test_importing_it_costs_nothing() -> None:
    heavy = ("numpy", "cv2", "onnxruntime", "torch")
    source = f"import sys, kd_deploy.runtime; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
