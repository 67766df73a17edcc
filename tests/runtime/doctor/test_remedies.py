"""The command for each platform; a Jetson's own libraries are never replaced by pip."""

from __future__ import annotations

import pytest

from kd_deploy.runtime.doctor.checks import CHECKS
from kd_deploy.runtime.doctor.finding import BROKEN, FOUND, MISSING, WORKS, Finding
from kd_deploy.runtime.doctor.platforms import Platform
from kd_deploy.runtime.doctor.remedies import remedy

DESKTOP, ARM = Platform("Linux", "x86_64"), Platform("Linux", "aarch64")
WINDOWS, MACOS = Platform("Windows", "x86_64"), Platform("macOS", "aarch64")
JETPACK_6, JETPACK_7 = (Platform("Linux", "aarch64", jetpack, "NVIDIA Jetson") for jetpack in (6, 7))
ALL = (DESKTOP, ARM, WINDOWS, MACOS, JETPACK_6, JETPACK_7)


@pytest.mark.parametrize("platform", ALL, ids=lambda platform: platform.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_all_that_is_missing_or_broken_has_a_remedy_everywhere(check: object, platform: Platform) -> None:
    for state in (MISSING, BROKEN):
        line = remedy(Finding(check.name, state, reason="no"), platform)
        assert line
        assert "\n" not in line
    assert remedy(Finding(check.name, WORKS), platform) == ""
    assert remedy(Finding(check.name, FOUND), platform) == ""


@pytest.mark.parametrize("platform", [JETPACK_6, JETPACK_7], ids=lambda platform: platform.name)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("state", [MISSING, BROKEN])
def test_pip_replaces_nothing_of_a_jetsons(check: object, platform: Platform, state: str) -> None:
    line = remedy(Finding(check.name, state, reason="no"), platform)
    for command in line.split("pip install")[1:]:
        assert not any(word in command.split(";")[0] for word in ("tensorrt", "opencv", "-gpu", "-e", "cu12"))


@pytest.mark.parametrize(
    ("name", "platform", "words"),
    [
        ("tensorrt", DESKTOP, "pip install -e '.[tensorrt]'"),
        ("tensorrt", WINDOWS, "pip install -e '.[tensorrt]'"),
        ("tensorrt", JETPACK_6, "sudo apt install python3-libnvinfer libnvinfer-bin"),
        ("tensorrt", MACOS, "needs an NVIDIA GPU under Linux or Windows"),
        ("cuda-bindings", JETPACK_6, "pip install 'cuda-bindings==12.*'"),
        ("cuda-bindings", JETPACK_7, "pip install 'cuda-bindings==13.*'"),
        ("opencv", DESKTOP, "pip install 'opencv-python>=4.10'"),
        ("opencv", JETPACK_7, "sudo apt install python3-opencv"),
        ("numpy", JETPACK_6, "pip install 'numpy>=1.26,<2'"),
        ("numpy", JETPACK_7, "pip install 'numpy>=1.26'"),
        ("onnxruntime-cpu", DESKTOP, "pip install 'onnxruntime-gpu>=1.22'"),
        ("onnxruntime-cpu", ARM, "pip install 'onnxruntime>=1.22'"),
        ("onnxruntime-cpu", JETPACK_6, "pip install 'onnxruntime>=1.22'"),
        ("onnxruntime-cuda", WINDOWS, "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.22'"),
        ("onnxruntime-cuda", JETPACK_6, "no wheel for this machine; use tensorrt instead"),
        ("onnxruntime-cuda", MACOS, "needs an NVIDIA GPU; use onnxruntime-cpu instead"),
        ("nvidia-driver", DESKTOP, "sudo ubuntu-drivers install"),
        ("nvidia-driver", WINDOWS, "https://www.nvidia.com/drivers"),
        ("nvidia-driver", JETPACK_6, "sudo apt install nvidia-jetpack"),
        ("torch", DESKTOP, "pip install -e '.[train]'"),
        ("torch", JETPACK_6, "not needed on a device"),
        ("onnx", WINDOWS, "pip install -e '.[export]'"),
    ],
)
def test_the_command_for_a_platform(name: str, platform: Platform, words: str) -> None:
    assert words in remedy(Finding(name, MISSING, reason="is not installed"), platform)


def test_a_system_library_comes_with_the_systems_package_manager() -> None:
    broken = Finding("opencv", BROKEN, reason="libGL.so.1: cannot open", lacks="libGL.so.1")
    assert remedy(broken, DESKTOP).startswith("sudo apt install libgl1 ")
    assert remedy(broken, JETPACK_6).startswith("sudo apt install libgl1 ")
    assert "apt" not in remedy(broken, WINDOWS)


def test_an_opencv_of_another_numpy_needs_that_numpy() -> None:
    broken = Finding("opencv", BROKEN, reason="numpy.core.multiarray failed to import")
    assert remedy(broken, JETPACK_6).startswith("pip install --force-reinstall 'numpy>=1.26,<2'")


@pytest.mark.parametrize(("module", "name"), [("numpy", "numpy"), ("cv2", "opencv")])
def test_what_needs_another_library_is_mended_by_it(module: str, name: str) -> None:
    broken = Finding("tensorrt", BROKEN, reason=f"needs {module}", facts={"needs": module})
    for platform in ALL:
        assert remedy(broken, platform) == remedy(Finding(name, MISSING), platform)


def test_what_waits_for_a_gpu_waits_for_its_driver() -> None:
    for name in ("tensorrt", "cuda-bindings", "onnxruntime-cuda"):
        assert "ubuntu-drivers" in remedy(Finding(name, FOUND, reason="no device"), DESKTOP)
    lacks = Finding("onnxruntime-cuda", FOUND, "1.31.1", reason="x", lacks="libcublasLt.so.13")
    assert "onnxruntime-gpu[cuda,cudnn]" in remedy(lacks, DESKTOP)


def test_the_cpus_onnxruntime_goes_before_the_gpus_comes() -> None:
    absent = Finding("onnxruntime-cuda", MISSING, "1.31.1", reason="built without CUDA")
    assert "pip uninstall -y onnxruntime, then pip install" in remedy(absent, DESKTOP)
