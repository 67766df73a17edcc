"""The check of TensorRT: it builds an engine of the tiny network and runs it.

API-checked and run over a fake, not on a GPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.backends.tensorrt import TensorRt
from kd_deploy.runtime.bundle import sha256
from kd_deploy.runtime.doctor.backends import judged, without_gpu
from kd_deploy.runtime.doctor.finding import Finding
from kd_deploy.runtime.doctor.libraries import imported
from kd_deploy.runtime.doctor.tiny import MODEL, frame, tiny_bundle
from kd_deploy.runtime.engines.build import build
from kd_deploy.runtime.engines.handles import key_here
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.engines.store import EngineFile
from kd_deploy.runtime.nvidia import trt


def tensorrt() -> Finding:
    """TensorRT builds an engine of the tiny network and runs it."""

    def try_it(_: object) -> Finding:
        return without_gpu(judged("tensorrt", trt.__version__, _run))

    return imported("tensorrt", "tensorrt", try_it)


def _run() -> NDArray[np.uint8]:
    """The mask, by an engine that is built for it."""
    bundle, options = tiny_bundle(), BuildOptions(workspace=64, level=0)
    key = key_here(bundle, "fp32", options)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny.engine"
        build(Request(str(MODEL), str(file), "fp32", bundle.size, options), percent=lambda percent: None)
        with TensorRt(bundle, EngineFile(file, key, sha256(file), {})) as model:
            return model.run(frame())
