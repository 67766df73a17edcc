"""Write a bundle: the ONNX graph, the reference weights, golden frames and the manifest, then check it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kd_deploy.config.schema import Network
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.onnx_graph import OPSET, write_onnx
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import write_weights
from kd_deploy.runtime.bundle import MANIFEST, SCHEMA, Bundle, sha256
from kd_deploy.runtime.environment import versions
from kd_deploy.runtime.errors import GateFailedError, UserError
from kd_deploy.runtime.files import atomic_folder, write_json
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.segment import to_size

MODEL = "model.fp32.onnx"
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Content:
    """What goes into a bundle.

    Attributes:
        segmenter: the trained network.
        network: its recipe section, which rebuilds it.
        size: height and width in pixels of the frames it will take.
        golden: frames that travel with the bundle, resized to `size` where they differ.
        thresholds: the parity gate's limits, by name.
        data: how the data set is read again: the recipe's section without its folder.
        source: where the network comes from: the run's summary.
    """

    segmenter: Segmenter
    network: Network
    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    size: tuple[int, int]
    golden: Sequence[Frame]
    thresholds: dict[str, float]
    data: dict[str, Any]
    source: dict[str, Any]


def write_bundle(path: Path, content: Content, *, replace: bool = False) -> Bundle:
    """Write and check a bundle; `path` appears only when every check has passed.

    Raises:
        UserError: `path` exists and `replace` is not set or it is no bundle, or the disk refuses.
        GateFailedError: ONNX Runtime's masks of the golden frames are not PyTorch's.
    """
    if path.exists() and replace and not (path / MANIFEST).is_file():
        raise UserError(f"{path}: is no bundle, so --force does not replace it; choose another name")
    with atomic_folder(path, replace=replace) as folder:
        (folder / "golden").mkdir()
        golden = _write_golden(folder, content)
        facts = {
            "classes": content.classes,
            "palette": content.palette.tolist(),
            **_ends(content.segmenter, content.size),
        }
        write_onnx(DeployedGraph(content.segmenter), content.size, folder / MODEL, facts)
        write_weights(content.segmenter.network.state_dict(), folder / REFERENCE)
        (folder / "README.md").write_text(_readme(content), encoding="utf-8")
        write_json(folder / MANIFEST, _manifest(folder, content, golden, facts))
        bundle = Bundle.open(folder)
        _check_golden(bundle, content.thresholds["min_pixel_agreement"])
    return Bundle.open(path)


def _write_golden(folder: Path, content: Content) -> list[dict[str, str]]:
    model = TorchModel(content.segmenter, content.size, torch.device("cpu"))
    entries = []
    for number, frame in enumerate(content.golden):
        image = to_size(frame.image, content.size)
        entry = {
            "name": Path(frame.name).name,
            "frame": f"golden/{number:03d}.frame.png",
            "mask": f"golden/{number:03d}.mask.png",
        }
        write_image(folder / entry["frame"], image)
        write_image(folder / entry["mask"], model.run(image[None])[0])
        entries.append(entry)
    return entries


def _ends(segmenter: Segmenter, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "ignore": IGNORE,
        "input": {
            "name": "frame",
            "dtype": "uint8",
            "layout": "NHWC",
            "channels": "BGR",
            "size": list(size),
            "batch": "dynamic",
        },
        "output": {"name": "mask", "dtype": "uint8", "layout": "NHW"},
        "normalisation": {
            "inside_graph": True,
            "channels": "RGB",
            "mean": segmenter.mean.flatten().tolist(),
            "std": segmenter.std.flatten().tolist(),
        },
    }


def _manifest(
    folder: Path, content: Content, golden: list[dict[str, str]], facts: dict[str, Any]
) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        "schema": SCHEMA,
        **facts,
        "opset": OPSET,
        "models": {"fp32": MODEL},
        "reference": REFERENCE,
        "network": content.network.model_dump(include={"arch", "encoder"}),
        "golden": golden,
        "thresholds": content.thresholds,
        "data": content.data,
        "source": content.source,
        "tools": {"python": platform.python_version(), **versions()},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": {p.relative_to(folder).as_posix(): sha256(p) for p in files},
    }


def _check_golden(bundle: Bundle, min_agreement: float) -> None:
    """Run the written graph on the golden frames one by one and all at once: two batch sizes, one answer."""
    frames, masks = (np.stack(x) for x in list(zip(*bundle.golden(), strict=True))[1:])
    with open_model(bundle) as model:
        single = np.concatenate([model.run(frame[None]) for frame in frames])
        together = model.run(frames if len(frames) > 1 else np.concatenate((frames, frames)))[: len(frames)]
    for name, result in (("batch 1", single), (f"batch {max(2, len(frames))}", together)):
        agreement = 100.0 * float((result == masks).mean())
        if agreement < min_agreement:
            raise GateFailedError(
                f"{MODEL}: at {name} {agreement:.3f} % of the golden frames' pixels agree with PyTorch, "
                f"{min_agreement} % are required; nothing was written"
            )


def _readme(content: Content) -> str:
    height, width = content.size
    return f"""# A kd-deploy bundle: {content.network.arch} on {content.network.encoder}

{len(content.classes)} classes: {", ".join(content.classes)}.

`{MODEL}` takes `frame`, uint8 (N, {height}, {width}, 3) in BGR, as OpenCV decodes it, and returns `mask`, uint8
(N, {height}, {width}) class ids. Normalisation, upsampling and argmax are inside; the batch size is free.
manifest.json says the rest, with the sha256 of every file.

On the device, with kd-deploy installed from its checkout (`pip install '.[runtime]'`) and `BUNDLE` for this folder:

    kd-deploy parity BUNDLE                      # the golden frames: does this machine give PyTorch's masks?
    kd-deploy benchmark BUNDLE
    kd-deploy infer BUNDLE street.mp4 -o out.mp4

`reference.safetensors` holds the PyTorch weights, for `--backend torch` and for parity on labelled data.
"""
