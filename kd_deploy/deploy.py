"""From a run to a bundle, and from a bundle back to its data set."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kd_deploy.config.data import Data, SyntheticData
from kd_deploy.config.views import Views
from kd_deploy.data.dataset import Dataset, frames, open_dataset, verify
from kd_deploy.device import make_device
from kd_deploy.export.bundle import Content, write_bundle
from kd_deploy.export.onnx_graph import Ends
from kd_deploy.export.precisions import Precision, spread
from kd_deploy.export.refusals import check_place
from kd_deploy.export.section import read_section
from kd_deploy.export.simplify import find_onnxsim
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.golden import choose_golden
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import load
from kd_deploy.progress import counted
from kd_deploy.run import Run
from kd_deploy.runtime.bundle import MANIFEST, Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.manifest import SOURCE, check
from kd_deploy.runtime.model import Model, open_model
from kd_deploy.runtime.parity import MAX_BOUNDARY_DROP, MIN_PIXEL_AGREEMENTS
from kd_deploy.runtime.segment import labels_to_size, to_size
from kd_deploy.scores import run_scores

_SYNTHETIC = Path("synthetic")
"""The word that stands for a folder where `--data` is a data set that is drawn."""

MEASURED = 100
"""Frames of val on which precisions are judged where no number is given."""


@dataclass(frozen=True)
class Wanted:
    """What `kd-deploy export` writes.

    Attributes:
        size: height and width of the frames the bundle takes; None: the recipe's `export.size`, else the data's
            where all its frames have one.
        batch: frames in one run; None: any number.
        free_size: whether the graphs take other sizes too.
        precisions: beside fp32.
        calibration: frames of the training split, at most, that the other precisions are chosen on.
        measured: frames of val, at most, that every model is judged on; None: 100 where there are other precisions,
            else none.
        simplify: whether onnxsim goes over the float graphs.
    """

    size: tuple[int, int] | None = None
    batch: int | None = None
    free_size: bool = False
    precisions: tuple[Precision, ...] = ()
    calibration: int = 32
    measured: int | None = None
    simplify: bool = False


def export_run(
    path: Path, output: Path, wanted: Wanted = Wanted(), *, root: Path | None = None, replace: bool = False
) -> Bundle:
    """Write the bundle of a finished run.

    Args:
        root: where the data set lies now, if not where the run was trained; its val split gives the golden frames.

    Raises:
        UserError: the run is not finished, its data are gone, its frames differ in size and no size is given, a
            precision does not serve its network, or `output` is taken.
        GateFailedError: a written graph is not the network.
    """
    run = Run.open(path)
    data = _moved(run.recipe.data, root)
    folder = [] if isinstance(data, SyntheticData) else [Path(data.root)]
    check_place(output, replace=replace, inputs=[run.path, *folder])
    if wanted.simplify:
        find_onnxsim()
    source, scores = _source(run), run_scores(run)
    dataset = open_dataset(data, "val")
    segmenter = load(run.network, str(run.weights), len(dataset.classes), key=run.role)
    size = wanted.size or run.recipe.export.size or _shared_size(path, dataset)
    content = Content(
        segmenter=segmenter,
        network=run.network,
        classes=dataset.classes,
        palette=dataset.palette,
        ends=_ends(segmenter, size, wanted),
        golden=choose_golden(dataset, run.recipe.export.golden),
        thresholds={
            "max_miou_drop": run.recipe.export.max_miou_drop,
            "max_boundary_drop": MAX_BOUNDARY_DROP,
            "min_pixel_agreement": MIN_PIXEL_AGREEMENTS,
        },
        data=run.recipe.data.model_dump(mode="json", exclude={"root", "cache"}),
        source=source,
        precisions=wanted.precisions,
        calibration=_calibration(data, size, wanted) if wanted.precisions else (),
        measured=_measured(dataset, wanted.measured or MEASURED)
        if wanted.precisions or wanted.measured
        else None,
        scores=scores,
        simplify=wanted.simplify,
    )
    return write_bundle(output, content, replace=replace)


def _calibration(data: Data, size: tuple[int, int], wanted: Wanted) -> list[Frame]:
    """Frames of the training split at the deployed size."""
    train = open_dataset(data, "train")
    resized = []
    for frame in frames(train, spread(len(train), wanted.calibration)):
        label = None if frame.label is None else labels_to_size(frame.label, size)
        resized.append(Frame(frame.name, to_size(frame.image, size), label))
    return resized


def _measured(dataset: Dataset, most: int) -> Callable[[], Iterator[Frame]]:
    indices = spread(len(dataset), most)
    return lambda: counted("measure", frames(dataset, indices), len(indices))


def _ends(segmenter: Segmenter, size: tuple[int, int], wanted: Wanted) -> Ends:
    """What the graphs take.

    Raises:
        UserError: `size` cannot be free.
    """
    if not wanted.free_size:
        return Ends(size, wanted.batch)
    multiple, least = segmenter.stride, segmenter.least
    lowest = max(least, 2 * multiple)  # a tracer given one multiple takes it for a constant
    if any(side % multiple or side < lowest for side in size):
        nearest = "x".join(str(max(lowest, -(-side // multiple) * multiple)) for side in size)
        raise UserError(
            f"--dynamic size: {size[0]}x{size[1]}: where the size is free, the export of this network starts from "
            f"multiples of {multiple}, {lowest} or more; pass --size {nearest}"
        )
    return Ends(size, wanted.batch, multiple, least)


def _shared_size(run: Path, dataset: Dataset) -> tuple[int, int]:
    size = verify(dataset)
    if size is None:
        raise UserError(
            f"{run}: the frames of its data set differ in size, a bundle takes one; pass --size HxW (export.size "
            "in the recipe)"
        )
    return size


def _source(run: Run) -> dict[str, Any]:
    """The run in the manifest; where its scores are of more than the bundle will see, it says of what.

    Raises:
        UserError: the run is not finished, or its summary is damaged.
    """
    try:
        summary = run.summary()
        check(summary, SOURCE)
    except ValueError as error:
        raise UserError(
            f"{run.path / 'summary.json'}: is damaged ({error}); copy the run again, or train it anew"
        ) from error
    views = run.recipe.evaluate
    seen = {"views": views.to_json()} if views.many else {}
    return {key: summary[key] for key in SOURCE} | seen


def _moved(data: Data, root: Path | None) -> Data:
    """The `data` section with another folder, where one is given."""
    if root is None:
        return data
    if isinstance(data, SyntheticData):
        if root == _SYNTHETIC:
            return data
        raise UserError(f"--data {root}: the synthetic data set is drawn, not read; leave --data out")
    return data.model_copy(update={"root": root})


def bundle_dataset(bundle: Bundle, root: Path | None, split: str) -> Dataset:
    """The data set that a bundle's network was made for, read from `root`, or drawn (None, or `synthetic`).

    Raises:
        UserError: no root for a data set that lives on disk, other classes than the bundle's, or a damaged manifest.
    """
    section = dict(bundle.manifest["data"])
    kind = section.get("format")
    if kind == "synthetic":
        if root not in (None, _SYNTHETIC):
            raise UserError(
                f"--data {root}: the bundle's data set is synthetic, drawn and not read; say --data synthetic"
            )
    elif root is None:
        raise UserError(f"{bundle.path}: its data set ({kind}) lies outside the bundle; pass --data DIR")
    else:
        section["root"] = root
    dataset = open_dataset(read_section(bundle, "data", Data, section), split)
    if tuple(dataset.classes) != bundle.classes:
        raise UserError(
            f"{root or 'synthetic'}: has other classes than the bundle; pass the bundle's own data set"
        )
    return dataset


def open_for_evaluation(
    source: Path,
    root: Path | None,
    split: str,
    *,
    backend: str | None,
    precision: str,
    device: str,
    views: Mapping[str, object] | None = None,
) -> tuple[Model, Dataset]:
    """The model and the data set of a bundle on a backend, or of a run in PyTorch.

    Args:
        backend: None: a bundle's ONNX Runtime on the CPU, a run's PyTorch.
        device: where a run computes; a bundle computes where its backend does.
        views: keys of `Views` that take the place of those of the run's recipe.

    Raises:
        UserError: `source` is neither, its data set is not to be found, or it does not run as asked.
    """
    if (source / MANIFEST).exists():
        if device == "cuda":
            raise UserError(f"--device cuda: {source} is a bundle, which its --backend puts on a device")
        if views:
            raise UserError(
                f"--{next(iter(views))}: {source} is a bundle, which gives class ids of frames of one size and "
                "no scores to average; evaluate its RUN"
            )
        bundle = Bundle.open(source)
        dataset = bundle_dataset(bundle, root, split)
        return open_model(bundle, backend=backend or "onnxruntime-cpu", precision=precision), dataset
    run = Run.open(source)
    if backend not in (None, "torch") or precision != "fp32":
        raise UserError(
            f"{source}: is a run, evaluated in PyTorch at fp32; kd-deploy export {shlex.quote(str(source))} -o BUNDLE "
            f"makes what runs on {backend or precision}"
        )
    dataset = open_dataset(_moved(run.recipe.data, root), split)
    segmenter = load(run.network, str(run.weights), len(dataset.classes), key=run.role)
    seen = _seen(run.recipe.evaluate, views or {})
    return TorchModel(segmenter, None, make_device(device), seen), dataset


def _seen(own: Views, asked: Mapping[str, object]) -> Views:
    """The run's views with what was asked for in its place; another window brings its own stride."""
    kept = own.to_json() | ({"stride": None} if "window" in asked else {})
    wanted = {key: None if value == "none" else value for key, value in asked.items()}
    try:
        return Views.model_validate(kept | wanted)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{first['loc'][0]}: {first['msg']}") from error
