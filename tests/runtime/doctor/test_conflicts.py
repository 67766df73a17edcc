"""Parts that are there and do not go together."""

from __future__ import annotations

from typing import Any

import pytest

from kd_deploy.runtime.doctor.checks import CHECKS
from kd_deploy.runtime.doctor.conflicts import Conflict, conflicts
from kd_deploy.runtime.doctor.finding import WORKS, Finding
from kd_deploy.runtime.doctor.platforms import Platform

DESKTOP, JETSON = Platform("Linux", "x86_64"), Platform("Linux", "aarch64", 6)


def found(platform: Platform = DESKTOP, **changes: dict[str, Any]) -> list[Conflict]:
    """The conflicts of a machine where all works, but for these findings (opencv={...})."""
    findings = {
        check.name: Finding(check.name, WORKS, **changes.pop(check.name.replace("-", "_"), {}))
        for check in CHECKS
    }
    assert not changes
    return conflicts(findings, platform)


def test_a_sound_machine_has_none() -> None:
    assert found() == found(JETSON) == []
    assert found(opencv={"facts": {"distributions": ["opencv-python"]}}) == []
    assert found(JETSON, python={"facts": {"system_packages": True}}) == []


def test_two_opencvs() -> None:
    both = ["opencv-python", "opencv-python-headless"]
    (conflict,) = found(opencv={"facts": {"distributions": both}})
    assert conflict.text.startswith("opencv: opencv-python and opencv-python-headless are both installed")
    assert conflict.remedy == (
        "pip uninstall -y opencv-python opencv-python-headless, then pip install opencv-python"
    )


def test_pips_opencv_on_a_jetson() -> None:
    (conflict,) = found(JETSON, opencv={"facts": {"distributions": ["opencv-python"]}})
    assert "hides this Jetson's own" in conflict.text
    assert conflict.remedy == "pip uninstall -y opencv-python"


@pytest.mark.parametrize(("platform", "one"), [(DESKTOP, "onnxruntime-gpu"), (JETSON, "onnxruntime")])
def test_two_onnxruntimes(platform: Platform, one: str) -> None:
    both = ["onnxruntime", "onnxruntime-gpu"]
    (conflict,) = found(platform, onnxruntime_cpu={"facts": {"distributions": both}})
    assert conflict.remedy == f"pip uninstall -y onnxruntime onnxruntime-gpu, then pip install {one}"


@pytest.mark.parametrize(
    ("numpy", "tensorrt", "count"),
    [
        ("2.4.6", "10.3.0", 1),
        ("2.0.0", "10.13.3.9", 1),
        ("2.4.6", "10.14.1", 0),
        ("2.4.6", "11.4.0.106", 0),
        ("1.26.4", "10.3.0", 0),
        ("2.4.6", None, 0),
    ],
)
def test_numpy_2_and_an_old_tensorrt(numpy: str, tensorrt: str | None, count: int) -> None:
    assert len(found(numpy={"version": numpy}, tensorrt={"version": tensorrt})) == count


@pytest.mark.parametrize(
    ("built", "served", "count"),
    [("13.0", "12.8", 1), ("13.2", "13.0", 0), ("12.6", "13.0", 0), ("13.0", None, 0), (None, "12.8", 0)],
)
def test_a_driver_older_than_the_library(built: str | None, served: str | None, count: int) -> None:
    texts = found(nvidia_driver={"facts": {"cuda": served}}, onnxruntime_cuda={"facts": {"cuda": built}})
    assert len(texts) == count
    for conflict in texts:
        assert conflict.text == "onnxruntime-cuda: built for CUDA 13.0, and the driver serves CUDA up to 12.8"
        assert conflict.remedy.startswith("a driver of version 580 or newer: ")


def test_torch_and_the_bindings_have_a_cuda_too() -> None:
    served = {"facts": {"cuda": "12.6"}}
    torch, bindings = (
        found(nvidia_driver=served, **{name: {"facts": {"cuda": "13.2"}}})
        for name in ("torch", "cuda_bindings")
    )
    assert torch[0].text.startswith("torch: built for CUDA 13.2")
    assert bindings[0].remedy == "pip install 'cuda-bindings==12.*'"


def test_a_jetsons_virtual_environment_must_see_the_system() -> None:
    (conflict,) = found(JETSON, python={"facts": {"system_packages": False}})
    assert "--system-site-packages" in conflict.remedy
    assert found(python={"facts": {"system_packages": False}}) == []


def test_a_jetpack_that_is_too_old() -> None:
    (conflict,) = found(Platform("Linux", "aarch64", 5))
    assert (conflict.text[:9], conflict.remedy) == ("JetPack 5", "flash JetPack 6 or 7")
