"""A run's report: its losses and scores over time, its classes, its confusions, and its frames beside its rivals'."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from markupsafe import Markup

from kd_deploy.compare import gap_closed
from kd_deploy.config.data import SyntheticData
from kd_deploy.config.views import Views
from kd_deploy.data.dataset import Dataset
from kd_deploy.deploy import open_for_evaluation
from kd_deploy.device import make_device
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.finished import ALONE, TEACHER, Finished, difference, find_teacher, shown
from kd_deploy.models.weights import load
from kd_deploy.progress import Progress
from kd_deploy.report import figures
from kd_deploy.report.confusion import READABLE, confusion
from kd_deploy.report.drawing import COLORS
from kd_deploy.report.frames import Comparison, css, legend, of_each_stretch, row, segmented
from kd_deploy.report.page import render
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.metrics import Result, Score
from kd_deploy.runtime.model import Model

RUN = "this run"
_COLORS = {TEACHER: COLORS[0], RUN: COLORS[2]}
"""A baseline, whatever its name, has the one between."""
FRAMES = 6


@dataclass
class _Rivals:
    """The run and what it is measured by, all on the run's val split, by the names that the page uses.

    Attributes:
        models: the teacher and the baseline where there are such, and the run, the last.
        baseline: the key of the baseline, or None.
        notes: what is missing, and why.
    """

    dataset: Dataset
    models: dict[str, Model]
    baseline: str | None = None
    notes: list[str] = field(default_factory=list)


def run_page(path: Path, *, baseline: Path | None, root: Path | None, device: str) -> str:
    """The page of a finished run; every network is scored again on val, under a progress bar.

    Args:
        baseline: a run to set beside it, as a rule the student alone.
        root: where the data set lies, if it was moved.
        device: auto, cpu or cuda.

    Raises:
        UserError: no finished run, its data are gone, or the baseline was scored on other data.
    """
    finished = Finished.open(path)
    rivals = _open(finished, Finished.open(baseline) if baseline else None, root, device)
    results, frames = _score(rivals)
    records = list(finished.run.records())
    result = results[RUN]
    notes = [*rivals.notes, *_changed(finished, result)]
    return render(
        "run.html.j2",
        path=path,
        method=finished.method,
        recipe=finished.run.recipe,
        network=finished.run.network,
        training=finished.run.train,
        summary=finished.summary,
        result=result,
        results=results,
        baseline=rivals.baseline,
        gap=_gap(results, rivals.baseline),
        facts=_facts(finished),
        notes=notes,
        plots=figures.training(records),
        classes=_classes(results, rivals.dataset, rivals.baseline),
        confusion=confusion(result),
        trimaps=figures.trimaps(
            {name: scored.trimap_iou for name, scored in results.items()},
            {name: _COLORS.get(name, COLORS[1]) for name in results},
        ),
        many=len(rivals.dataset.classes) > READABLE,
        frames=_rows(frames, rivals.dataset),
    )


def _open(finished: Finished, baseline: Finished | None, root: Path | None, device: str) -> _Rivals:
    own, dataset = _evaluated(finished.path, root, device)
    rivals = _Rivals(dataset, {})
    data = finished.run.recipe.data
    where = root if isinstance(data, SyntheticData) else root or data.root
    if finished.run.teacher:
        try:
            rivals.models[TEACHER] = _teacher(finished, where, dataset, device)
        except UserError as error:
            rivals.notes.append(f"The teacher is not on this page: {error}.")
    if baseline:
        if found := difference(baseline.scored, finished.scored):
            raise UserError(
                f"--baseline {baseline.path}: {found} in {finished.path}; give a run that shares it"
            )
        rivals.baseline = ALONE if baseline.method == ALONE else f"baseline ({baseline.method})"
        rivals.models[rivals.baseline], _ = _evaluated(baseline.path, where, device)
    elif finished.terms:
        rivals.notes.append("The student alone is not on this page: name its run with --baseline.")
    rivals.models[RUN] = own
    return rivals


def _evaluated(
    path: Path, root: Path | None, device: str, views: Views | None = None
) -> tuple[Model, Dataset]:
    """A run's model and val split; `views` take the place of those of its recipe."""
    asked = views.to_json() if views else None
    return open_for_evaluation(path, root, "val", backend=None, precision="fp32", device=device, views=asked)


def _teacher(finished: Finished, root: Path | None, dataset: Dataset, device: str) -> Model:
    """The teacher's run, or its weights where they are all that is known of it; seen as the student is."""
    views = finished.run.recipe.evaluate
    if run := find_teacher(finished.run):
        return _evaluated(run.path, root, device, views)[0]
    source = str(finished.run.teacher)
    segmenter = load(finished.run.recipe.teacher, source, len(dataset.classes), key="teacher")
    return TorchModel(segmenter, None, make_device(device), views)


def _score(rivals: _Rivals) -> tuple[dict[str, Result], list[Comparison]]:
    """Each model's scores, and the frames on which the run and its baseline (or the labels) differ most."""
    scores = {name: Score(rivals.dataset.classes) for name in rivals.models}

    def apart(found: Comparison) -> float:
        return found.lead(RUN, rivals.baseline) if rivals.baseline else -found.right[RUN]

    with Progress("report", len(rivals.dataset)) as progress:
        seen = segmented(rivals.models, rivals.dataset, scores=scores, progress=progress.advance)
        frames = of_each_stretch(seen, apart, FRAMES, len(rivals.dataset))
    return {name: score.result() for name, score in scores.items()}, frames


def _gap(results: dict[str, Result], baseline: str | None) -> float | None:
    if baseline != ALONE or TEACHER not in results:
        return None
    teacher, alone, own = (results[name].miou for name in (TEACHER, ALONE, RUN))
    return None if teacher is None or alone is None or own is None else gap_closed(teacher, alone, own)


def _changed(finished: Finished, result: Result) -> list[str]:
    """The run's own score again, or a word on what it was."""
    if result.miou is not None and abs(result.miou - finished.miou) < 0.005:
        return []
    return [
        f"Scored again for this page; the run itself found an mIoU of {finished.miou:.2f} on "
        f"{finished.summary['device']}: the data, the device or the versions have changed since."
    ]


def _classes(
    results: dict[str, Result], dataset: Dataset, baseline: str | None
) -> list[tuple[str, str, dict[str, float | None], float | None]]:
    """Name, colour, IoU by model, and the run's lead over the baseline, of each class."""
    rows = []
    for name, color in zip(dataset.classes, dataset.palette, strict=True):
        values = {model: result.classes[name] for model, result in results.items()}
        own, other = values[RUN], values[baseline] if baseline else None
        rows.append((name, css(color), values, None if own is None or other is None else own - other))
    if len(rows) > READABLE:
        rows.sort(key=lambda row: _last_if_none(row[3] if baseline else row[2][RUN]))
    return rows


def _last_if_none(score: float | None) -> float:
    return math.inf if score is None else -score


def _rows(found: list[Comparison], dataset: Dataset) -> list[tuple[list[tuple[str, str]], Markup]]:
    """The frames, and above each what its colours mean; above the first alone where so few can be told apart."""
    masks = [[comparison.label, *comparison.masks.values()] for comparison in found]
    common = legend(chain(*masks), dataset.classes, dataset.palette)
    if len(common) > READABLE:
        legends = [legend(own, dataset.classes, dataset.palette) for own in masks]
    else:
        legends = [common, *([] for _ in masks[1:])]
    return [
        (colors, row(comparison, dataset.palette)) for colors, comparison in zip(legends, found, strict=True)
    ]


def _facts(finished: Finished) -> list[tuple[str, str]]:
    summary, recipe, train = finished.summary, finished.run.recipe, finished.run.train
    network = finished.run.network
    terms = [f"{term.name} ({term.weight:g})" for term in recipe.distill] if finished.terms else []
    crops = f"{train.batch_size} crops of {shown(list(train.crop))}"
    cost = (
        f"{1000 * summary['seconds_per_step']:.0f} ms a step, {summary['seconds']:.0f} s without evaluations"
    )
    return [
        ("data", f"{recipe.data.format}, {_size(finished)}; {summary['images']} val frames"),
        ("scored by", str(recipe.evaluate)),
        ("network", f"{network.arch} on {network.encoder}, {summary['parameters'] / 1e6:.2f} M parameters"),
        ("terms (weight)", ", ".join([f"cross-entropy ({recipe.supervised.weight:g})", *terms])),
        ("teacher", finished.run.teacher or "none: taught by the labels alone"),
        ("training", f"{train.iterations} iterations of {crops}, {train.precision}, seed {summary['seed']}"),
        ("weights", f"of iteration {summary['weights_of_step']} (train.keep: {train.keep})"),
        ("cost", f"{cost}, on {summary['device']}"),
        ("peak memory", _gigabytes(summary.get("peak_memory_bytes"))),
    ]


def _size(finished: Finished) -> str:
    sizes = {key: finished.scored.get(f"data.{key}") for key in ("size", "short_side")}
    said = [f"{key.replace('_', ' ')} {shown(value)}" for key, value in sizes.items() if value]
    return said[0] if said else "frames at their own size"


def _gigabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:.2f} GB"
