"""Does a backend give the masks of the reference? The gate between an export and a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.metrics import Result, Score, check_ids
from kd_deploy.runtime.model import Description, Model
from kd_deploy.runtime.overlay import Palette, colorize, side_by_side
from kd_deploy.runtime.segment import Image, Mask, segment, to_size

MIN_PIXEL_AGREEMENT = 99.9
"""Percent of equal pixels that two fp32 backends reach (argmax near-ties differ)."""

MIN_PIXEL_AGREEMENTS = {"fp32": MIN_PIXEL_AGREEMENT, "fp16": 99.0, "bf16": 98.5, "int8": 97.0}
"""By precision: what export chose on calibration frames, less half to two points for frames it did not see."""

LOST_SHARE, LOST_FOUND = 0.1, 10.0
"""Without labels a class with the first percent of the reference's pixels, of which the candidate finds less
than the second percent, is lost: the agreement over all pixels does not show a rare class."""

_STORED = Description("torch", "fp32", "the exporting machine's CPU", {})  # the golden masks' maker
_KEPT = 4  # worst frames kept for `draw_worst`
_WIDEST = 640  # pixels of each picture in `draw_worst`
_SEEN = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Side:
    """One model's scores, in points, None without labels."""

    miou: float | None
    pixel_accuracy: float | None
    boundary_iou: float | None
    backend: str
    precision: str
    device: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Pair:
    """One frame with both masks.

    Attributes:
        frame: image (H, W, 3) uint8, and its label map where there is one.
        reference: (H, W) uint8 class ids.
        candidate: (H, W) uint8 class ids.
        agreement: percent of equal pixels.
    """

    frame: Frame
    reference: Mask
    candidate: Mask
    agreement: float


@dataclass(frozen=True)
class ParityReport:
    """What `compare` and `compare_golden` found.

    Attributes:
        reference, candidate: the two models' scores on the labelled frames.
        miou_drop: reference minus candidate, points; None without labels.
        pixel_agreement: percent of all pixels, labelled or not, on which the masks agree.
        worst_class: the class whose IoU dropped most or, without labels, whose two masks overlap least.
        frames: how many were compared.
        golden: the reference's masks are the bundle's stored ones.
        thresholds: what was asked for.
        reasons: why it fails, a line each; empty if it passes.
        worst: the frames that agree least, worst first.
    """

    reference: Side
    candidate: Side
    miou_drop: float | None
    pixel_agreement: float
    worst_class: str
    frames: int
    golden: bool
    thresholds: dict[str, float]
    reasons: list[str]
    worst: list[Pair] = field(repr=False, compare=False)

    @property
    def verdict(self) -> str:
        """pass or fail."""
        return "fail" if self.reasons else "pass"

    def to_json(self) -> dict[str, Any]:
        """The content of parity.json."""
        return {
            "verdict": self.verdict,
            "reference": asdict(self.reference),
            "candidate": asdict(self.candidate),
            "miou_drop": self.miou_drop,
            "pixel_agreement": self.pixel_agreement,
            "worst_class": self.worst_class,
            "frames": self.frames,
            "golden": self.golden,
            "reasons": self.reasons,
            "thresholds": self.thresholds,
        }


def compare(
    reference: Model,
    candidate: Model,
    frames: Iterable[Frame],
    class_names: Sequence[str],
    *,
    max_miou_drop: float,
    min_pixel_agreement: float = MIN_PIXEL_AGREEMENT,
) -> ParityReport:
    """Run both models over the same frames and judge the candidate.

    It fails if its mIoU is more than `max_miou_drop` lower or fewer than `min_pixel_agreement` percent of the
    pixels agree; without labels, also if it has lost a whole class (`LOST_SHARE`).

    Args:
        reference: the model that is right by definition, as a rule PyTorch's.
        candidate: the model under test.
        frames: frames of any size; labels may be missing (then nothing is said about mIoU).
        class_names: class names by id.
        max_miou_drop: points of mIoU that the candidate may lose.
        min_pixel_agreement: percent of pixels on which the masks must agree.

    Raises:
        UserError: no frames, or a mask or label map that does not fit the classes or the frame.
    """

    masks = ((f, segment(reference, f.image), segment(candidate, f.image)) for f in frames)
    thresholds = {"max_miou_drop": max_miou_drop, "min_pixel_agreement": min_pixel_agreement}
    return _judge(masks, reference.describe(), candidate, class_names, thresholds, golden=False)


def compare_golden(
    candidate: Model,
    golden: Iterable[tuple[str, Image, Mask]],
    class_names: Sequence[str],
    *,
    min_pixel_agreement: float = MIN_PIXEL_AGREEMENT,
) -> ParityReport:
    """Judge the candidate by PyTorch's stored masks, on a device that has no PyTorch.

    Args:
        candidate: the model under test.
        golden: (name, frame (H, W, 3) uint8 BGR, mask (H, W) uint8) of each stored frame.
        class_names: class names by id.
        min_pixel_agreement: percent of pixels on which the masks must agree.

    Raises:
        UserError: no frames, or a mask that does not fit the classes or the frame.
    """

    masks = ((Frame(name, image), mask, segment(candidate, image)) for name, image, mask in golden)
    thresholds = {"min_pixel_agreement": min_pixel_agreement}
    return _judge(masks, _STORED, candidate, class_names, thresholds, golden=True)


def check_bundle(
    bundle: Bundle,
    candidate: Model,
    reference: Model | None = None,
    frames: Iterable[Frame] = (),
    *,
    max_miou_drop: float | None = None,
) -> ParityReport:
    """Judge a backend of a bundle by the bundle's own thresholds; the report is kept in its parity.json and its ledger.

    Args:
        candidate: the bundle on the backend under test.
        reference: the bundle in PyTorch, for `frames`; None: the bundle's golden masks are the reference.
        frames: labelled frames, for `compare`.
        max_miou_drop: takes the place of the bundle's own limit.

    Raises:
        UserError: as `compare` and `compare_golden`.
    """
    limits = bundle.manifest["thresholds"]
    agreement = bundle.min_agreement(candidate.describe().precision)
    if reference is None:
        report = compare_golden(candidate, bundle.golden(), bundle.classes, min_pixel_agreement=agreement)
    else:
        report = compare(
            reference,
            candidate,
            frames,
            bundle.classes,
            max_miou_drop=limits["max_miou_drop"] if max_miou_drop is None else max_miou_drop,
            min_pixel_agreement=agreement,
        )
    bundle.keep("parity.json", report.to_json())
    bundle.enter(report.to_json())
    return report


def _judge(
    masks: Iterable[tuple[Frame, Mask, Mask]],
    reference: Description,
    candidate: Model,
    class_names: Sequence[str],
    thresholds: dict[str, float],
    *,
    golden: bool,
) -> ParityReport:
    """Score (frame, reference mask, candidate mask) triples and compare the scores with the thresholds."""
    agreed, before, after = Score(class_names), Score(class_names), Score(class_names)
    worst: list[Pair] = []
    for frame, right, mask in masks:
        if right.shape != frame.image.shape[:2]:
            sizes = ["x".join(map(str, array.shape[:2])) for array in (frame.image, right)]
            raise UserError(f"{frame.name}: the frame is {sizes[0]}, its reference mask {sizes[1]}")
        check_ids(right, len(class_names), f"{frame.name}: the reference's mask")
        agreed.update(right, mask, frame.name)
        if frame.label is not None:
            before.update(frame.label, right, frame.name)
            after.update(frame.label, mask, frame.name)
        pair = Pair(frame, right, mask, 100 * float(np.mean(right == mask)))
        worst = sorted([*worst, pair], key=lambda pair: pair.agreement)[:_KEPT]

    agreement, reference_scores, scores = agreed.result(), before.result(), after.result()
    if agreement.pixel_accuracy is None:
        raise UserError("frames: there are none to compare; name a folder that has some")
    drop = None
    if reference_scores.miou is not None and scores.miou is not None:
        drop = reference_scores.miou - scores.miou
    worst_class = _least_agreed(agreement) if drop is None else _worst_class(reference_scores, scores)
    report = ParityReport(
        reference=_side(reference_scores, reference),
        candidate=_side(scores, candidate.describe()),
        miou_drop=drop,
        pixel_agreement=agreement.pixel_accuracy,
        worst_class=worst_class,
        frames=agreement.images,
        golden=golden,
        thresholds=thresholds,
        reasons=[],
        worst=worst,
    )
    return replace(report, reasons=_reasons(report, agreement))


def _reasons(report: ParityReport, agreed: Result) -> list[str]:
    """Why the report fails, a line each."""
    worst, reasons = f"worst class: {report.worst_class}", []
    if report.miou_drop is not None and report.miou_drop > (limit := report.thresholds["max_miou_drop"]):
        reasons.append(f"mIoU falls by {report.miou_drop:.2f} points, {limit:g} are allowed; {worst}")
    if report.pixel_agreement < (limit := report.thresholds["min_pixel_agreement"]):
        reasons.append(
            f"{report.pixel_agreement:.3f} % of the pixels agree, {limit:g} % are required; {worst}"
        )
    if report.miou_drop is None:
        pixels, hits = agreed.confusion.sum(axis=1), np.diagonal(agreed.confusion)
        for name, whole, found in zip(agreed.classes, pixels, hits, strict=True):
            if whole >= LOST_SHARE / 100 * pixels.sum() and found < LOST_FOUND / 100 * whole:
                reasons.append(f"class {name} is lost: {found} of the reference's {whole} pixels are found")
    return reasons


def _worst_class(reference: Result, candidate: Result) -> str:
    """The class whose IoU dropped most."""
    return max(reference.classes, key=lambda name: _iou(reference, name) - _iou(candidate, name))


def _least_agreed(agreement: Result) -> str:
    """The class whose two masks overlap least."""
    return min(agreement.classes, key=lambda name: _iou(agreement, name))


def _iou(result: Result, name: str) -> float:
    """The class's IoU; 100 for one that is rightly nowhere."""
    value = result.classes[name]
    return 100.0 if value is None else value


def _side(result: Result, model: Description) -> Side:
    return Side(result.miou, result.pixel_accuracy, result.boundary_iou, **asdict(model))


def draw_worst(report: ParityReport, palette: Palette) -> dict[str, Image]:
    """A picture for each of the report's worst frames, by name: image, both masks, and where they differ.

    Args:
        report: of `compare` or `compare_golden`.
        palette: (C, 3) uint8, RGB.

    Returns:
        BGR pictures; disagreeing pixels are red on the darkened grey frame, thickened so that one is seen.
    """
    return {pair.frame.name: _draw(pair, palette) for pair in report.worst}


def write_worst(report: ParityReport, palette: Palette, folder: Path) -> None:
    """Write `draw_worst`'s pictures to `folder` as PNG files named after their frames."""
    for name, picture in draw_worst(report, palette).items():
        write_image(folder / f"{Path(name).stem}.png", picture)


def _draw(pair: Pair, palette: Palette) -> Image:
    grey = cv2.cvtColor(pair.frame.image, cv2.COLOR_BGR2GRAY) // 3
    differs = (pair.reference != pair.candidate).view(np.uint8)
    difference = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    difference[cv2.dilate(differs, _SEEN) > 0] = (48, 48, 255)
    pictures = [
        pair.frame.image,
        colorize(pair.reference, palette),
        colorize(pair.candidate, palette),
        difference,
    ]
    height, width = grey.shape
    if width > _WIDEST:
        pictures = [to_size(picture, (round(height * _WIDEST / width), _WIDEST)) for picture in pictures]
    return side_by_side(
        pictures, ["image", "reference", "candidate", f"difference: {100 - pair.agreement:.3f} %"]
    )
