"""TensorRT's objects that may be null, and this machine's key. API-checked, not run."""

from __future__ import annotations

import re
import sysconfig
from typing import TYPE_CHECKING

from kd_deploy.runtime import cuda
from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.engines.key import BuildOptions, EngineKey
from kd_deploy.runtime.errors import MissingComponentError
from kd_deploy.runtime.nvidia import trt

if TYPE_CHECKING:
    from kd_deploy.runtime.engines.callbacks import Logger

_MEMORY = re.compile(r"out\s?of\s?memory|bad_alloc|MemoryAllocation|insufficient memory", re.IGNORECASE)


def key_here(bundle: Bundle, precision: str, options: BuildOptions) -> EngineKey:
    """The key of an engine that is built here and now from a bundle's model.

    Raises:
        UserError: the bundle has no such precision.
        MissingComponentError: TensorRT, cuda-bindings or a GPU is missing.
    """
    onnx, version, gpu = sha256(bundle.model_file(precision)), trt.__version__, cuda.gpu()
    return EngineKey(
        onnx=onnx,
        tensorrt=version,
        platform=sysconfig.get_platform(),
        gpu=gpu.name,
        capability=gpu.capability,
        multiprocessors=gpu.multiprocessors,
        precision=precision,
        size=bundle.size,
        options=options,
    )


def make_logger() -> Logger:
    """A logger of ours.

    Raises:
        MissingComponentError: TensorRT is not installed.
    """
    from kd_deploy.runtime.engines.callbacks import Logger

    return Logger()


def out_of_memory(logger: Logger) -> bool:
    """Whether one of the errors speaks of memory."""
    return any(_MEMORY.search(error) for error in logger.errors)


def make_builder(logger: Logger) -> trt.Builder:
    """A builder.

    Raises:
        MissingComponentError: TensorRT gives none, as it does without a GPU that it can use.
    """
    try:
        return trt.Builder(logger)
    except TypeError as error:  # pybind11::init(): factory function returned nullptr
        raise _no_gpu(logger) from error


def make_runtime(logger: Logger) -> trt.Runtime:
    """A runtime.

    Raises:
        MissingComponentError: as `make_builder`.
    """
    try:
        return trt.Runtime(logger)
    except TypeError as error:
        raise _no_gpu(logger) from error


def _no_gpu(logger: Logger) -> MissingComponentError:
    return MissingComponentError(
        f"tensorrt: {trt.__version__} cannot use a GPU here ({logger.last}); check the driver with nvidia-smi (it "
        "must fit TensorRT's CUDA version), or carry the bundle to the device and run kd-deploy build BUNDLE there"
    )
