"""Run a candidate over frames and judge its masks by the reference's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import TypeVar

import numpy as np

from kd_deploy.runtime.behind import behind
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Result, Score, check_ids
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.parity.limits import MIN_PIXEL_AGREEMENT, mask_iou, reasons
from kd_deploy.runtime.parity.report import Pair, ParityReport, Side
from kd_deploy.runtime.parity.unfit import first_of, scorable, why_unfit
from kd_deploy.runtime.segment import Image, Mask, segment, segment_batch

_STORED = Description("torch", "fp32", "the exporting machine's CPU", {})  # the golden masks' maker
_KEPT = 4  # worst frames kept for `draw_worst`
_TOGETHER = 2  # frames in one run where the model takes any number: enough for one to be taken for another

Item = TypeVar("Item")
Golden = tuple[str, Image, Mask]
Judged = tuple[Frame, Mask, Mask]  # with the reference's mask and the candidate's


def compare(
    reference: Model,
    candidate: Model,
    frames: Iterable[Frame],
    class_names: Sequence[str],
    *,
    max_miou_drop: float,
    max_boundary_drop: float | None = None,
    min_pixel_agreement: float = MIN_PIXEL_AGREEMENT,
) -> ParityReport:
    """Run both models over the same frames and judge the candidate.

    It fails if its mIoU is more than `max_miou_drop` lower, its boundary IoU more than `max_boundary_drop`, or fewer
    than `min_pixel_agreement` percent of the pixels agree; without labels, also if it has lost a whole class
    (`LOST_SHARE`). The reference sees one frame at a time; the candidate two in one run and one alone, in turn, so
    that both ways are scored (or as many as its fixed batch).

    Args:
        reference: the model that is right by definition, as a rule PyTorch's.
        candidate: the model under test.
        frames: frames of any size; labels may be missing (then nothing is said about mIoU).
        class_names: class names by id.
        max_miou_drop: points of mIoU that the candidate may lose.
        max_boundary_drop: points of boundary IoU that it may lose; None: it is reported alone.
        min_pixel_agreement: percent of pixels on which the masks must agree.

    Raises:
        UserError: no frames, or a label map or mask of the reference that does not fit the classes or the frame. A
            mask of the candidate that does not is wrong, and a reason.
    """

    def masks() -> Iterator[Judged]:
        for group in _groups(frames, (candidate.batch,) if candidate.batch else (_TOGETHER, 1)):
            found = segment_batch(candidate, [frame.image for frame in group])
            for frame, mask in zip(group, found, strict=True):
                yield frame, segment(reference, frame.image), mask

    thresholds = {"max_miou_drop": max_miou_drop, "min_pixel_agreement": min_pixel_agreement}
    if max_boundary_drop is not None:
        thresholds["max_boundary_drop"] = max_boundary_drop
    return _judge(masks(), reference.describe(), candidate, class_names, thresholds, golden=False)


def compare_golden(
    candidate: Model,
    golden: Iterable[Golden],
    class_names: Sequence[str],
    *,
    min_pixel_agreement: float = MIN_PIXEL_AGREEMENT,
    min_mask_iou: float = 0.0,
) -> ParityReport:
    """Judge the candidate by PyTorch's stored masks, on a device that has no PyTorch.

    Each frame is run beside another, and alone, twice as wide: what `segment` makes of that for the model is the
    stored frame to the bit, and its mask the stored one with every pixel twice, so that the way from another size and
    back is judged too. Of the two masks the one that agrees less counts. It fails as `compare` does without labels,
    and if the masks' IoU (`ParityReport.mask_iou`) is under `min_mask_iou`.

    Args:
        candidate: the model under test.
        golden: (name, frame (H, W, 3) uint8 BGR, mask (H, W) uint8) of each stored frame; any size, as a rule the
            model's. Two or more, so that one taken for another is seen.
        class_names: class names by id.
        min_pixel_agreement: percent of pixels on which the masks must agree.
        min_mask_iou: points.

    Raises:
        UserError: no frames, or a stored mask that does not fit the classes or the frame.
    """
    stored = list(golden)
    together = [
        (Frame(name, image), right, mask)
        for group in _groups(stored, (candidate.batch or _TOGETHER,))
        for (name, image, right), mask in zip(
            group, segment_batch(candidate, [image for _, image, _ in group]), strict=True
        )
    ]
    alone = [
        (Frame(name, image), right, segment(candidate, image))
        for name, image, right in (_widened(item, candidate) for item in stored)
    ]
    worse = (min(pair, key=_agreement_of) for pair in zip(together, alone, strict=True))
    thresholds = {"min_pixel_agreement": min_pixel_agreement, "min_mask_iou": min_mask_iou}
    report = _judge(worse, _STORED, candidate, class_names, thresholds, golden=True)
    ways = [float(np.mean([_agreement_of(item) for item in way])) for way in (together, alone)]
    if report.reasons and abs(ways[0] - ways[1]) > 100 - MIN_PIXEL_AGREEMENT:
        way = f"{ways[0]:.3f} % agree several at once, {ways[1]:.3f} % one by one, each frame twice as wide"
        return replace(report, reasons=[*report.reasons, way])
    return report


def _widened(item: Golden, candidate: Model) -> Golden:
    """A golden frame of the model's size twice as wide; a model of any size would see another picture."""
    name, image, right = item
    if candidate.size != image.shape[:2]:
        return item
    return name, image.repeat(2, axis=1), right.repeat(2, axis=1)


def judge_golden(bundle: Bundle, candidate: Model) -> ParityReport:
    """Judge a backend by a bundle's golden frames and limits; nothing is kept.

    Raises:
        UserError: as `compare_golden`.
    """
    limits = bundle.golden_limits(candidate.describe().precision)
    return compare_golden(candidate, bundle.golden(), bundle.classes, **limits)


def check_bundle(
    bundle: Bundle,
    candidate: Model,
    reference: Model | None = None,
    frames: Iterable[Frame] = (),
    *,
    max_miou_drop: float | None = None,
    data: str | None = None,
    split: str | None = None,
) -> ParityReport:
    """Judge a backend of a bundle by the bundle's own thresholds; the report is kept in its parity.json and its ledger.

    With a `reference` the golden frames are judged as well: what both models share (the way from a frame's size to
    theirs and back, two frames in one run) shows there alone.

    Args:
        candidate: the bundle on the backend under test.
        reference: the bundle in PyTorch, for `frames`; None: the bundle's golden masks are the reference.
        frames: labelled frames, for `compare`.
        max_miou_drop: takes the place of the bundle's own limit.
        data, split: where `frames` come from, such as "camvid CamVid" and "val"; the ledger keeps each apart.

    Raises:
        UserError: as `compare` and `compare_golden`.
    """
    limits = bundle.manifest["thresholds"]
    if reference is None:
        report = judge_golden(bundle, candidate)
    else:
        report = compare(
            reference,
            candidate,
            frames,
            bundle.classes,
            max_miou_drop=limits["max_miou_drop"] if max_miou_drop is None else max_miou_drop,
            max_boundary_drop=limits.get("max_boundary_drop"),
            min_pixel_agreement=bundle.min_agreement(candidate.describe().precision),
        )
        golden = [f"golden frames: {reason}" for reason in judge_golden(bundle, candidate).reasons]
        report = replace(report, reasons=[*report.reasons, *golden], data=data, split=split)
    bundle.keep("parity.json", report.to_json())
    bundle.enter(report.to_json())
    return report


def _groups(items: Iterable[Item], sizes: Sequence[int]) -> Iterator[list[Item]]:
    """The items in groups of the `sizes`, in turn."""
    rest = iter(items)
    for size in cycle(sizes):
        if not (group := list(islice(rest, size))):
            return
        yield group


def _judge(
    masks: Iterable[Judged],
    reference: Description,
    candidate: Model,
    class_names: Sequence[str],
    thresholds: dict[str, float],
    *,
    golden: bool,
) -> ParityReport:
    """Score the masks and compare the scores with the thresholds."""
    agreed, before, after = Score(class_names), Score(class_names), Score(class_names)
    worst: list[Pair] = []
    unfit: list[str] = []
    classes = len(class_names)

    def score(frame: Frame, right: Mask, mask: Mask) -> None:
        agreed.update(right, scorable(mask, right, classes), frame.name)
        if frame.label is not None:
            before.update(frame.label, right, frame.name)
            after.update(frame.label, scorable(mask, frame.label, classes), frame.name)

    with behind(score) as score_behind:
        for frame, right, mask in masks:
            _check_size(frame, right)
            check_ids(right, classes, f"{frame.name}: the reference's mask")
            if reason := why_unfit(mask, right, classes):
                unfit.append(f"{frame.name}: {reason}")
            score_behind(frame, right, mask)
            pair = Pair(frame, right, mask, _agreement_of((frame, right, mask)))
            worst = sorted([*worst, pair], key=lambda pair: pair.agreement)[:_KEPT]

    agreement, reference_scores, scores = agreed.result(), before.result(), after.result()
    if agreement.pixel_accuracy is None:
        raise UserError("frames: there are none to compare; name a folder that has some")
    labelled = reference_scores.miou is not None
    drops = _drops(reference_scores, scores) if labelled else _shortfalls(agreement)
    worst_class = max(drops, key=lambda name: drops[name])
    report = ParityReport(
        reference=Side.of(reference_scores, reference),
        candidate=Side.of(scores, candidate.describe()),
        miou_drop=_difference(reference_scores.miou, scores.miou),
        boundary_drop=_difference(reference_scores.boundary_iou, scores.boundary_iou),
        pixel_agreement=agreement.pixel_accuracy,
        mask_iou=mask_iou(agreement),
        worst_class=worst_class,
        worst_class_drop=drops[worst_class],
        frames=agreement.images,
        golden=golden,
        thresholds=thresholds,
        reasons=[],
        worst=worst,
    )
    return replace(report, reasons=[*first_of(unfit), *reasons(report, agreement)])


def _check_size(frame: Frame, right: Mask) -> None:
    if right.shape != frame.image.shape[:2]:
        sizes = ["x".join(map(str, array.shape[:2])) for array in (frame.image, right)]
        raise UserError(f"{frame.name}: the frame is {sizes[0]}, its reference mask {sizes[1]}")


def _agreement_of(judged: Judged) -> float:
    """Percent of equal pixels; 0 where the shapes differ."""
    _, reference, mask = judged
    return 100 * float(np.mean(reference == mask)) if reference.shape == mask.shape else 0.0


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _drops(reference: Result, candidate: Result) -> dict[str, float]:
    """By how much each class's IoU falls."""
    return {name: _iou(reference, name) - _iou(candidate, name) for name in reference.classes}


def _shortfalls(agreement: Result) -> dict[str, float]:
    """By how much each class's overlap is short of 100."""
    return {name: 100 - _iou(agreement, name) for name in agreement.classes}


def _iou(result: Result, name: str) -> float:
    """The class's IoU; 100 for one that is rightly nowhere."""
    value = result.classes[name]
    return 100.0 if value is None else value
