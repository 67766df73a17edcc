"""What loaders say, and what is read from it."""

from __future__ import annotations

import pytest

from kd_deploy.runtime.doctor.finding import loader_line, missing_library, one_line

ORT = (
    "\x1b[1;31m2026-11-20 18:28:04.35 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] onnxruntime::"
    "ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so "
    "with error: libcublasLt.so.13: cannot open shared object file: No such file or directory\n\x1b[m"
)
PRELOAD = "Failed to load libcurand.so.10: libcurand.so.10: cannot open shared object file: No such file or directory\n"
WINDOWS = r'''LoadLibrary failed with error 126 "" when trying to load "C:\ort\capi\onnxruntime_providers_cuda.dll"'''


@pytest.mark.parametrize(
    ("text", "library"),
    [
        (ORT, "libcublasLt.so.13"),
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libGL.so.1"),
        ("Error loading shared library libgomp.so.1: No such file (needed by x)", "libgomp.so.1"),
        ("dlopen(/x/y.so, 2): Library not loaded: @rpath/libomp.dylib\n  Referenced", "libomp.dylib"),
        (WINDOWS, "onnxruntime_providers_cuda.dll"),
        (r"Could not find module 'C:\cuda\nvcuda.dll' (or one of its dependencies)", "nvcuda.dll"),
        ("No module named 'tensorrt'", None),
        ("", None),
    ],
)
def test_the_library_that_is_not_there(text: str, library: str | None) -> None:
    assert missing_library(text) == library


def test_the_loaders_own_words_the_last_time_that_it_says_them() -> None:
    assert loader_line(PRELOAD + ORT) == (
        "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    )
    assert loader_line(PRELOAD).startswith("libcurand.so.10: cannot open")
    assert loader_line("all is well\n") == ""


def test_one_line_of_an_error() -> None:
    assert one_line(RuntimeError("\n  first \nsecond")) == "first"
    assert one_line(ValueError()) == "ValueError"
