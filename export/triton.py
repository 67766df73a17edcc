"""A model repository for NVIDIA's Triton Inference Server, from a bundle.

Layout and fields are those of Triton's documentation (model_repository.md, model_configuration.md, the schema
model_config.proto), and the tests parse what is written with Triton's own schema. Nobody here has run Triton on it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.engines.key import EngineKey
from kd_deploy.runtime.engines.store import FOLDER, EngineFile, find_built
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_folder, check_free

Backend = Literal["onnxruntime", "tensorrt"]
Device = Literal["gpu", "cpu"]

QUEUE_DELAY_US = 2000
"""How long a request may wait for others to share its batch: short beside a frame's tens of milliseconds."""


@dataclass(frozen=True)
class Served:
    """A model of the repository.

    Attributes:
        name: its folder, and what a client asks for.
        max_batch: the largest batch that Triton forms; 0: the graph's batch is fixed, a request carries all of it.
        needs: what the server must have for it.
    """

    name: str
    backend: Backend
    device: Device
    max_batch: int
    needs: str
    file: Path


@dataclass(frozen=True)
class Repository:
    """A written model repository.

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
    """Write NAME-PRECISION for ONNX Runtime and NAME-PRECISION-tensorrt for TensorRT; `folder` appears whole.

    Args:
        precisions: of the bundle's models.
        max_batch: the largest batch that Triton may form of requests; an engine built for less keeps to less.
        instances: of each model on each GPU, or on the CPU.
        device: where ONNX Runtime runs; `int8-cpu` models run on the CPU anyway, TensorRT on the GPU anyway.
        name: the first part of the models' names; None: the network's.
        replace: an old repository may be replaced.

    Raises:
        UserError: `folder` is taken, no such precision, a name that Triton cannot serve, a batch beyond the graph's,
            or nothing to serve: only TensorRT was asked for, and the bundle has no engine.
    """
    check_place(folder, replace=replace)
    prefix = name or "-".join(bundle.manifest["network"].values())
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", prefix):
        raise UserError(f"{prefix!r}: is no name for a Triton model; use letters, digits, '-', '_' and '.'")
    if instances < 1 or max_batch < 1:
        raise UserError(f"{instances} instances with batches up to {max_batch}: both must be 1 or more")
    models: list[Served | str] = []
    for precision in precisions:
        if "onnxruntime" in backends:
            models.append(_onnx_model(bundle, precision, prefix, max_batch, device))
        if "tensorrt" in backends:
            models.append(_tensorrt_model(bundle, precision, prefix, max_batch))
    served = tuple(model for model in models if isinstance(model, Served))
    left_out = tuple(model for model in models if isinstance(model, str))
    if not served:
        raise UserError(f"{bundle.path}: nothing to serve; {'; '.join(left_out) or 'name a precision'}")
    repository = Repository(folder, served, left_out)
    with atomic_folder(folder, replace=replace) as temporary:
        for model in served:
            _write_model(temporary / model.name, bundle, model, instances)
        (temporary / "README.md").write_text(_readme(bundle, repository), encoding="utf-8")
    return repository


def check_place(folder: Path, *, replace: bool) -> None:
    """Raise a UserError where no repository may be written: something is there, and not an old one to replace."""
    check_free(folder, replace=replace)
    if folder.exists() and not any(folder.glob("*/config.pbtxt")):
        raise UserError(
            f"{folder}: is no Triton repository, so --force does not replace it; choose another name"
        )


def _onnx_model(bundle: Bundle, precision: str, prefix: str, max_batch: int, device: Device) -> Served:
    file, fixed = bundle.model_file(precision), _fixed_batch(bundle)
    if fixed and max_batch > fixed:
        raise UserError(
            f"{bundle.path}: its graph takes batches of {fixed}, {max_batch} is beyond; ask for {fixed}, or export "
            "with a dynamic batch"
        )
    device = "cpu" if precision == "int8-cpu" else device
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
        return f"{what}: the bundle holds no engine of it; run kd-deploy build {bundle.path} where it will be served"
    if len(engines) > 1:
        names = ", ".join(engine.path.name for engine in engines)
        return f"{what}: {names} could be meant; keep the server's alone in {bundle.path / FOLDER}"
    key = engines[0].key
    least, _, most = key.options.batch or (1, 1, 1)
    if model.max_batch and least > 1:
        return f"{what}: its engine wants batches of {least} or more; build it with --batch 1,{least},{most}"
    batch = min(model.max_batch, most)  # 0 stays 0
    needs = f"TensorRT {key.tensorrt} on {key.gpu}"
    return Served(f"{model.name}-tensorrt", "tensorrt", "gpu", batch, needs, engines[0].path)


def _engines(bundle: Bundle, precision: str) -> Iterator[EngineFile]:
    onnx = bundle.manifest["files"][bundle.manifest["models"][precision]]
    for file in sorted((bundle.path / FOLDER).glob("*.json")):
        with suppress(
            OSError, KeyError, TypeError, ValueError, UserError
        ):  # a damaged one is as good as absent
            key = EngineKey.from_json(json.loads(file.read_text(encoding="utf-8"))["key"])
            if (key.onnx, key.precision) == (onnx, precision) and (engine := find_built(bundle, key)):
                yield engine


def _fixed_batch(bundle: Bundle) -> int:
    """The batch that the graph is fixed to; 0 where it is free."""
    return bundle.batch or 0


def _write_model(folder: Path, bundle: Bundle, model: Served, instances: int) -> None:
    (folder / "1").mkdir(parents=True)
    file = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}[
        model.backend
    ]  # each backend's own default
    shutil.copyfile(model.file, folder / "1" / file)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in bundle.classes), encoding="utf-8")
    (folder / "config.pbtxt").write_text(_text(_config(bundle, model, instances)), encoding="utf-8")


def _config(bundle: Bundle, model: Served, instances: int) -> dict[str, Any]:
    """ModelConfig's fields. Where max_batch_size is 0 the dims are whole shapes, else a free batch stands before."""
    fixed = _fixed_batch(bundle)
    shape = ([fixed] if fixed else []) + list(bundle.size)
    frame, mask = bundle.manifest["input"]["name"], bundle.manifest["output"]["name"]
    uint8 = _Word("TYPE_UINT8")
    config: dict[str, Any] = {
        "name": model.name,
        "backend": model.backend,
        "max_batch_size": model.max_batch,
        "input": [{"name": frame, "data_type": uint8, "dims": [*shape, 3]}],
        "output": [{"name": mask, "data_type": uint8, "dims": shape, "label_filename": "labels.txt"}],
        "instance_group": [{"count": instances, "kind": _Word(f"KIND_{model.device.upper()}")}],
        "version_policy": {"latest": {"num_versions": 1}},
    }
    if model.max_batch > 1:
        powers = {2**k for k in range(1, model.max_batch.bit_length())}
        config["dynamic_batching"] = {
            "preferred_batch_size": sorted(powers | {model.max_batch}),
            "max_queue_delay_microseconds": QUEUE_DELAY_US,
        }
    return config


class _Word(str):
    """An enumerator of the schema: written without quotes."""


def _text(fields: Mapping[str, Any], indent: str = "") -> str:
    """Protobuf's text format: a mapping is a message, a list a repeated field."""
    lines = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                lines.append(f"{indent}{name} {{\n{_text(one, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{name}: {one if isinstance(one, _Word) else json.dumps(one)}\n")
    return "".join(lines)


def _readme(bundle: Bundle, repository: Repository) -> str:
    (height, width), fixed, first = bundle.size, _fixed_batch(bundle), repository.served[0]
    rows = "\n".join(f"| {m.name} | {m.max_batch or fixed} | {m.needs} |" for m in repository.served)
    left_out = "".join(f"\n{line[0].upper()}{line[1:]}.\n" for line in repository.left_out)
    batch = f"A request carries {fixed} frames." if fixed else "Triton joins requests into batches."
    return f"""# A Triton model repository, written by kd-deploy

What is written is held to Triton's schema; nobody has run Triton on it. Where the server refuses a model, its log names
the field of config.pbtxt.

| model | largest batch | needs |
|---|---|---|
{rows}
{left_out}
`frame` is uint8 ({height}, {width}, 3), BGR as OpenCV decodes it; `mask` is uint8 ({height}, {width}), class ids, line
by line in labels.txt. {batch}

Serve it from this folder. An engine loads only with the TensorRT that built it: choose the release YY.MM of the
container by that. Leave `--gpus all` out where no model needs a GPU.

    docker run --rm --gpus all -p 8000:8000 -v "$PWD:/models:ro" nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
        tritonserver --model-repository=/models

Ask it, with `pip install 'tritonclient[http]' opencv-python`:

    import cv2
    import numpy as np
    import tritonclient.http as triton

    client = triton.InferenceServerClient("localhost:8000")
    frame = cv2.resize(cv2.imread("street.jpg"), ({width}, {height}))
    frames = np.stack([frame] * {fixed or 1})
    tensor = triton.InferInput("{bundle.manifest["input"]["name"]}", list(frames.shape), "UINT8")
    tensor.set_data_from_numpy(frames)
    mask = client.infer("{first.name}", [tensor]).as_numpy("{bundle.manifest["output"]["name"]}")[0]
"""
