"""One model of a Triton repository: its file, config.pbtxt, labels and what to type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kd_deploy.runtime.bundle import Bundle

Backend = Literal["onnxruntime", "tensorrt"]
Device = Literal["gpu", "cpu"]

MARK = "# Written by kd-deploy: export --force may replace this model.\n"
"""The first line of a config.pbtxt of ours, a comment to Triton."""

QUEUE_DELAY_US = 2000
"""Microseconds that a request may wait for others to share its batch: short beside a frame's tens of ms."""


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


def write_model(folder: Path, bundle: Bundle, model: Served, instances: int) -> None:
    """Write a model into `folder`, which is there and empty."""
    (folder / "1").mkdir()
    file = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}[
        model.backend
    ]  # each backend's own default
    shutil.copyfile(model.file, folder / "1" / file)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in bundle.classes), encoding="utf-8")
    config = MARK + _text(_config(bundle, model, instances))
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    (folder / "README.md").write_text(_readme(bundle, model), encoding="utf-8")


def is_ours(model: Path) -> bool:
    """Whether `write_model` made this folder."""
    config = model / "config.pbtxt"
    return config.is_file() and config.read_bytes().startswith(MARK.encode())


def _config(bundle: Bundle, model: Served, instances: int) -> dict[str, Any]:
    """ModelConfig's fields. Where max_batch_size is 0 the dims are whole shapes, else a free batch stands before."""
    fixed = bundle.batch or 0
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


def _readme(bundle: Bundle, model: Served) -> str:
    (height, width), fixed = bundle.size, bundle.batch
    frame, mask = bundle.manifest["input"]["name"], bundle.manifest["output"]["name"]
    batch = (
        f"A request carries {fixed} frames." if fixed else f"Triton forms batches of up to {model.max_batch}."
    )
    gpus = "--gpus all " if model.device == "gpu" else ""
    return f"""# {model.name}: a Triton model, written by kd-deploy

It needs {model.needs}. What is written is held to Triton's schema; nobody has run Triton on it. Where the server
refuses it, its log names the field of config.pbtxt.

`{frame}` is uint8 ({height}, {width}, 3), BGR as OpenCV decodes it; `{mask}` is uint8 ({height}, {width}), class ids,
line by line in labels.txt. {batch}

Serve it from the folder above, with all models there. An engine loads only with the TensorRT that built it: choose the
release YY.MM of the container by that.

    docker run --rm {gpus}-p 8000:8000 -v "$PWD:/models:ro" nvcr.io/nvidia/tritonserver:YY.MM-py3 \\
        tritonserver --model-repository=/models

Ask it, with `pip install 'tritonclient[http]' opencv-python`:

    import cv2
    import numpy as np
    import tritonclient.http as triton

    client = triton.InferenceServerClient("localhost:8000")
    image = cv2.resize(cv2.imread("street.jpg"), ({width}, {height}))
    frames = np.stack([image] * {fixed or 1})
    tensor = triton.InferInput("{frame}", list(frames.shape), "UINT8")
    tensor.set_data_from_numpy(frames)
    mask = client.infer("{model.name}", [tensor]).as_numpy("{mask}")[0]
"""
