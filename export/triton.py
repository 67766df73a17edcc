"""A model repository for NVIDIA's Triton Inference Server, from a bundle.

Layout and fields are those of Triton's documentation (model_repository.md, model_configuration.md, the schema
model_config.proto), and the tests parse what is written with Triton's own schema. Nobody here has run Triton on it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from kd_deploy.export.triton_model import Backend, Device, Served, is_ours, write_model
from kd_deploy.runtime.bundle import Bundle, made_for_cpu
from kd_deploy.runtime.engines.key import EngineKey
from kd_deploy.runtime.engines.store import FOLDER, EngineFile, find_built
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_folder, cannot_write, check_free, is_taken

_TENSORRT = "-tensorrt"


@dataclass(frozen=True)
class Repository:
    """What was written into a model repository.

    Attributes:
        left_out: what was asked for and is not there, a line each with the reason and the remedy.
    """

    path: Path
    served: tuple[Served, ...]
    left_out: tuple[str, ...]


def write_repository(
    bundle: Bundle,
    folder: Path,
    *,
    precisions: Sequence[str],
    backends: Sequence[Backend] = ("onnxruntime", "tensorrt"),
    max_batch: int,
    instances: int = 1,
    device: Device = "gpu",
    name: str | None = None,
    replace: bool = False,
) -> Repository:
    """Write NAME-PRECISION for ONNX Runtime and NAME-PRECISION-tensorrt for TensorRT, all of them or none.

    The other models of `folder` stay as they are.

    Args:
        precisions: of the bundle's models; those for CPUs have nothing for TensorRT.
        max_batch: the largest batch that Triton may form of requests; an engine built for less keeps to less.
        instances: of each model on each GPU, or on the CPU.
        device: where ONNX Runtime runs; models for CPUs run there anyway, TensorRT on the GPU anyway.
        name: the first part of the models' names; None: the network's.
        replace: models of these names may be replaced, or go where nothing is served, if kd-deploy wrote them.

    Raises:
        UserError: a name is taken, no such precision, a name that Triton cannot serve, a batch beyond the graph's,
            or nothing to serve: only TensorRT was asked for, and the bundle has no engine.
    """
    network = bundle.manifest["network"]
    prefix = name or network_name(network["arch"], network["encoder"])
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", prefix):
        raise UserError(f"{prefix!r}: is no name for a Triton model; use letters, digits, '-', '_' and '.'")
    if instances < 1 or max_batch < 1:
        raise UserError(f"{instances} instances with batches up to {max_batch}: both must be 1 or more")
    check_place(folder, prefix, precisions, replace=replace)
    models: list[Served | str] = []
    for precision in precisions:
        if "onnxruntime" in backends:
            models.append(_onnx_model(bundle, precision, prefix, max_batch, device))
        if "tensorrt" in backends and not made_for_cpu(precision):
            models.append(_tensorrt_model(bundle, precision, prefix, max_batch))
    served = tuple(model for model in models if isinstance(model, Served))
    left_out = tuple(model for model in models if isinstance(model, str))
    if not served:
        reason = "; ".join(left_out) or "name a precision that these backends run"
        raise UserError(f"{bundle.path}: nothing to serve; {reason}")
    with ExitStack() as stack:
        for model in served:
            temporary = stack.enter_context(atomic_folder(folder / model.name, replace=replace))
            write_model(temporary, bundle, model, instances)
    for name in _names(prefix, precisions) - {model.name for model in served}:
        shutil.rmtree(folder / name, ignore_errors=True)  # an engine of the graph that was there before
    return Repository(folder, served, left_out)


def network_name(arch: str, encoder: str) -> str:
    """The first part of the models' names where none is given."""
    return f"{arch}-{encoder}"


def _names(prefix: str, precisions: Sequence[str]) -> set[str]:
    """The models that there may be of these precisions."""
    return {f"{prefix}-{precision}{end}" for precision in precisions for end in ("", _TENSORRT)}


def check_place(folder: Path, prefix: str, precisions: Sequence[str], *, replace: bool) -> None:
    """Raise a UserError where these models may not be written: the folder is something else or refuses, or a name is
    taken."""
    try:
        if is_taken(folder) and any(folder.iterdir()) and not any(folder.glob("*/config.pbtxt")):
            raise UserError(f"{folder}: exists already and is no Triton repository; choose another name")
        for place in sorted(folder / name for name in _names(prefix, precisions)):
            check_free(place, replace=replace)
            if is_taken(place) and not is_ours(place):
                raise UserError(
                    f"{place}: was not written by kd-deploy, so --force does not replace it; choose another --triton"
                )
        nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        tempfile.TemporaryDirectory(dir=nearest).cleanup()
    except OSError as error:
        raise cannot_write(folder, error) from error


def _onnx_model(bundle: Bundle, precision: str, prefix: str, max_batch: int, device: Device) -> Served:
    file, fixed = bundle.model_file(precision), bundle.batch
    if fixed and max_batch > fixed:
        raise UserError(
            f"{bundle.path}: its graph takes batches of {fixed}, {max_batch} is beyond; ask for {fixed}, or export "
            "with a dynamic batch"
        )
    device = "cpu" if made_for_cpu(precision) else device
    needs = "a GPU" if device == "gpu" else "a CPU"
    return Served(f"{prefix}-{precision}", "onnxruntime", device, 0 if fixed else max_batch, needs, file)


def _tensorrt_model(bundle: Bundle, precision: str, prefix: str, max_batch: int) -> Served | str:
    """The bundle's engine of this precision, or the line that says why none is served."""
    model, what = (
        _onnx_model(bundle, precision, prefix, max_batch, "gpu"),
        f"{precision} on TensorRT is left out",
    )
    engines = list(_engines(bundle, precision))
    if not engines:
        build = f"kd-deploy build {shlex.quote(str(bundle.path))}"
        return f"{what}: the bundle holds no engine of it; run {build} where it will be served"
    if len(engines) > 1:
        names = ", ".join(engine.path.name for engine in engines)
        return f"{what}: {names} could be meant; keep the server's alone in {bundle.path / FOLDER}"
    key = engines[0].key
    least, _, most = key.options.batch or (1, 1, 1)
    if model.max_batch and least > 1:
        return f"{what}: its engine wants batches of {least} or more; build it with --batch 1,{least},{most}"
    batch = min(model.max_batch, most)  # 0 stays 0
    needs = f"TensorRT {key.tensorrt} on {key.gpu}"
    return Served(f"{model.name}{_TENSORRT}", "tensorrt", "gpu", batch, needs, engines[0].path)


def _engines(bundle: Bundle, precision: str) -> Iterator[EngineFile]:
    onnx = bundle.manifest["files"][bundle.manifest["models"][precision]]
    for file in sorted((bundle.path / FOLDER).glob("*.json")):
        with suppress(
            OSError, KeyError, TypeError, ValueError, UserError
        ):  # a damaged one is as good as absent
            key = EngineKey.from_json(json.loads(file.read_text(encoding="utf-8"))["key"])
            if (key.onnx, key.precision) == (onnx, precision) and (engine := find_built(bundle, key)):
                yield engine
