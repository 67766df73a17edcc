"""What the inference libraries report of their users to their makers: under kd-deploy nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def disable_onnxruntime_telemetry() -> None:
    """Keep ONNX Runtime from it, whoever imports it from now on; ORT_DISABLE_TELEMETRY=0 in the environment wins.

    From 1.29 on its builds for Linux and macOS send names and hashes of models and facts of the machine
    (microsoft/onnxruntime#27379), and keep a number of the device in the home folder. It is asked once a process.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@contextmanager
def no_openvino_telemetry() -> Iterator[None]:
    """Import openvino inside: it sends an event to Google Analytics when it is imported, but for its own stub.

    The stub is what it takes where the package openvino_telemetry is not installed.
    """
    name = "openvino_telemetry"
    known = name in sys.modules
    if not known:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say that there is none
    try:
        yield
    finally:
        if not known:
            del sys.modules[name]
