"""Score any model (a network in training, a run, a bundle on any backend) on a data set, by one code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kd_deploy.config.views import WHOLE
from kd_deploy.data.dataset import Dataset, frames
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.runtime.behind import behind
from kd_deploy.runtime.metrics import Result, Score
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import segment


def score(model: Model, dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> Result:
    """The scores over every frame of `dataset`, each at the size that the data set gives it: frames of another
    size than the model's are resized for it, and the mask is brought back to the label map's."""
    return count(model, dataset, progress=progress).result()


def count(
    model: Model,
    dataset: Dataset,
    process: int = 0,
    processes: int = 1,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """What `process` of several adds to the score: every frame is scored by one of them, behind the model."""
    total, share = Score(dataset.classes), range(process, len(dataset), processes)
    with behind(total.update) as update:
        for number, frame in enumerate(frames(dataset, share), start=1):
            if frame.label is None:
                raise ValueError(f"{frame.name}: has no label")
            update(frame.label, segment(model, frame.image), frame.name)
            if progress:
                progress(number, len(share))
    return total


def to_json(result: Result, model: Model) -> dict[str, Any]:
    """What `evaluate --json` prints: scores in points (0 to 100), null where nothing was labelled."""
    description = model.describe()
    views = model.views if isinstance(model, TorchModel) else WHOLE
    return {
        "miou": result.miou,
        "pixel_accuracy": result.pixel_accuracy,
        "mean_accuracy": result.mean_accuracy,
        "boundary_iou": result.boundary_iou,
        "trimap_iou": {str(width): iou for width, iou in result.trimap_iou.items()},
        "classes": result.classes,
        "boundary_classes": result.boundary_classes,
        "images": result.images,
        "views": views.to_json(),
        "backend": description.backend,
        "precision": description.precision,
        "device": description.device,
        "versions": description.versions,
    }
