"""From a run to a bundle, and from a bundle back to its data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from kd_deploy.config.schema import Data, SyntheticData
from kd_deploy.data.dataset import Dataset, open_dataset
from kd_deploy.device import make_device
from kd_deploy.export.bundle import Content, write_bundle
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.models.weights import load
from kd_deploy.run import Run
from kd_deploy.runtime.bundle import MANIFEST, Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Model, open_model

MIN_PIXEL_AGREEMENT = 99.9
"""Percent of pixels; what a float32 graph must reach (FP32 sums in another order flip only ties)."""


def export_run(
    path: Path, output: Path, *, size: tuple[int, int] | None = None, replace: bool = False
) -> Bundle:
    """Write the fp32 bundle of a finished run.

    Args:
        size: height and width of the frames the bundle takes; None: the recipe's `export.size`, else the data's.

    Raises:
        UserError: the run is not finished, its data are gone, or `output` is taken.
        GateFailedError: the written graph is not the network.
    """
    run = Run.open(path)
    summary = run.summary()
    dataset = open_dataset(run.recipe.data, "val")
    segmenter = load(run.network, str(run.weights), len(dataset.classes), key=run.role)
    count = min(run.recipe.export.golden, len(dataset))
    golden = [dataset[int(i)] for i in np.linspace(0, len(dataset) - 1, count)]
    height, width = golden[0].image.shape[:2]
    content = Content(
        segmenter=segmenter,
        network=run.network,
        classes=dataset.classes,
        palette=dataset.palette,
        size=size or run.recipe.export.size or (height, width),
        golden=golden,
        thresholds={
            "max_miou_drop": run.recipe.export.max_miou_drop,
            "min_pixel_agreement": MIN_PIXEL_AGREEMENT,
        },
        data=run.recipe.data.model_dump(mode="json", exclude={"root"}),
        source=_source(summary),
    )
    return write_bundle(output, content, replace=replace)


def _source(summary: dict[str, Any]) -> dict[str, Any]:
    kept = (
        "role",
        "terms",
        "seed",
        "iterations",
        "weights_of_step",
        "miou",
        "boundary_iou",
        "classes",
        "commit",
    )
    return {key: summary[key] for key in kept}


def bundle_dataset(bundle: Bundle, root: Path | None, split: str) -> Dataset:
    """The data set that a bundle's network was made for, read from `root`.

    Raises:
        UserError: no root for a data set that lives on disk, or other classes than the bundle's.
    """
    section = {**bundle.manifest["data"], **({"root": str(root)} if root else {})}
    if section["format"] == "synthetic":
        section.pop("root", None)
    elif root is None:
        raise UserError(
            f"{bundle.path}: its data set ({section['format']}) lies outside the bundle; pass --data DIR"
        )
    data: Data = TypeAdapter(Data).validate_python(section)
    dataset = open_dataset(data, split)
    if tuple(dataset.classes) != bundle.classes:
        raise UserError(
            f"{root or 'synthetic'}: has other classes than the bundle; pass the bundle's own data set"
        )
    return dataset


def open_for_evaluation(
    source: Path, root: Path | None, split: str, *, backend: str | None, precision: str, device: str
) -> tuple[Model, Dataset]:
    """The model and the data set of a bundle on a backend, or of a run in PyTorch.

    Args:
        backend: None: a bundle's ONNX Runtime on the CPU, a run's PyTorch.
        device: where a run computes; a bundle computes where its backend does.

    Raises:
        UserError: `source` is neither, its data set is not to be found, or it does not run as asked.
    """
    if (source / MANIFEST).exists():
        if device == "cuda":
            raise UserError(f"--device cuda: {source} is a bundle, which its --backend puts on a device")
        bundle = Bundle.open(source)
        dataset = bundle_dataset(bundle, root, split)
        return open_model(bundle, backend=backend or "onnxruntime-cpu", precision=precision), dataset
    run = Run.open(source)
    if backend not in (None, "torch") or precision != "fp32":
        raise UserError(
            f"{source}: is a run, evaluated in PyTorch at fp32; kd-deploy export {source} -o BUNDLE makes what "
            f"runs on {backend or precision}"
        )
    data = run.recipe.data
    if root and not isinstance(data, SyntheticData):
        data = data.model_copy(update={"root": root})
    dataset = open_dataset(data, split)
    segmenter = load(run.network, str(run.weights), len(dataset.classes), key=run.role)
    height, width = dataset[0].image.shape[:2]
    return TorchModel(segmenter, (height, width), make_device(device)), dataset
