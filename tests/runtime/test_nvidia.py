"""A library that is missing: which, why, and the two ways on for this very machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_deploy.runtime import nvidia
from kd_deploy.runtime.doctor.platforms import Platform
from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.nvidia import cudart, trt
from tests.runtime.gpu import FakeGpu

CARRY = "or carry the bundle to the device and run kd-deploy build BUNDLE there"


def test_a_library_that_lacks_one_of_its_own(
    without_tensorrt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tensorrt()
    monkeypatch.setattr(nvidia, "detect", lambda: Platform("Linux", "x86_64"))
    with pytest.raises(MissingComponentError) as caught:
        trt.Builder  # noqa: B018
    assert str(caught.value) == (
        "tensorrt: cannot be imported (libnvinfer.so.10: cannot open shared object file: No such file or directory); "
        f"with an NVIDIA GPU, in kd-deploy's checkout: pip install -e '.[tensorrt]', {CARRY}"
    )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "error",
    [
        OSError("libnvinfer.so.10: cannot open shared object file"),  # ctypes
        FileNotFoundError(
            "Could not find: nvinfer_10.dll. Is it on your PATH?"
        ),  # the bindings under Windows
    ],
)
def test_a_library_that_only_the_module_itself_misses(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(f"raise {error!r}")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingComponentError) as caught:
        trt.Builder  # noqa: B018
    assert str(caught.value).startswith(f"tensorrt: cannot be imported ({error}); ")


@pytest.mark.parametrize(("jetpack", "cuda"), [(6, 12), (7, 13)])
def test_a_jetson_keeps_its_own_tensorrt(jetpack: int, cuda: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "detect", lambda: Platform("Linux", "aarch64", jetpack))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingComponentError) as caught:
        cudart.cudaMalloc(1)
    assert "sudo apt install python3-libnvinfer" in str(caught.value)
    assert f"pip install 'cuda-bindings=={cuda}.*'" in str(caught.value)
    assert "pip install -e" not in str(caught.value)


def test_there_is_no_tensorrt_for_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "detect", lambda: Platform("macOS", "aarch64"))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingComponentError, match=rf"needs an NVIDIA GPU under Linux or Windows, {CARRY}$"):
        trt.Builder  # noqa: B018


def test_a_name_that_the_version_lacks_is_an_attribute_error(gpu: FakeGpu) -> None:
    assert trt.__version__ == "10.3.0"
    assert hasattr(trt.BuilderFlag, "FP16")
    gpu(version="11.4.0.106")
    assert not hasattr(trt.BuilderFlag, "FP16")
    assert not hasattr(trt, "MadeUp")
