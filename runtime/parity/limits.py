"""What the gate allows, and why a report fails."""

from __future__ import annotations

import numpy as np

from kd_deploy.runtime.metrics import Result
from kd_deploy.runtime.parity.report import ParityReport

MIN_PIXEL_AGREEMENT = 99.9
"""Percent of equal pixels that two fp32 backends reach (argmax near-ties differ)."""

MIN_PIXEL_AGREEMENTS = {"fp32": MIN_PIXEL_AGREEMENT, "fp16": 99.0, "bf16": 98.5, "int8": 97.0}
"""By precision: what export chose on calibration frames, less half to two points for frames it did not see."""

MAX_BOUNDARY_DROP = 1.0
"""Points of boundary IoU. Sound fp16 and int8 models of trained students moved it by 0.2 or less."""

LOST_SHARE, LOST_FOUND = 0.1, 10.0
"""Without labels a class with the first percent of the reference's pixels, of which the candidate finds less
than the second percent, is lost: the agreement over all pixels does not show a rare class."""

GOLDEN_MARGIN = 1.5
"""A precision's masks may differ from PyTorch's this many times as much as where it was exported: int8 of two trained
students did 1.27 times on OpenVINO, whose kernels round otherwise than ONNX Runtime's."""


def golden_limits(at_export: Result, max_miou_drop: float) -> dict[str, float]:
    """What golden frames alone ask of a precision on any machine, from what it reached where it was exported.

    Args:
        at_export: the precision's masks of the golden frames, scored by PyTorch's.
        max_miou_drop: points of mIoU that the bundle allows.

    The masks' overlap bounds the mIoU: 1 - IoU is a distance (Jaccard's; Lipkus 1999, doi:10.1023/A:1019154432472),
    so a class's IoU with the truth falls by no more than its overlap with the reference's mask is short of 100. What
    an export allows beyond its own rounding is thus `max_miou_drop`.
    """

    def limit(measured: float, more: float) -> float:
        return max(0.0, 100 - more - GOLDEN_MARGIN * (100 - measured))

    return {
        "min_pixel_agreement": limit(at_export.pixel_accuracy or 0.0, 100 - MIN_PIXEL_AGREEMENT),
        "min_mask_iou": limit(mask_iou(at_export), max_miou_drop),
    }


def reasons(report: ParityReport, agreed: Result) -> list[str]:
    """Why `report` fails, a line each; `agreed` scores the candidate's masks by the reference's."""
    worst, found = f"worst class: {report.worst_class}", []
    for name, drop in (("miou", report.miou_drop), ("boundary", report.boundary_drop)):
        limit = report.thresholds.get(f"max_{name}_drop")
        if drop is not None and limit is not None and drop > limit:
            title = {"miou": "mIoU", "boundary": "boundary IoU"}[name]
            found.append(f"{title} falls by {drop:.2f} points, {limit:g} are allowed; {worst}")
    least = report.thresholds["min_pixel_agreement"]
    if report.pixel_agreement < least:
        found.append(f"{report.pixel_agreement:.3f} % of the pixels agree, {least:g} % are required; {worst}")
    overlap = report.thresholds.get("min_mask_iou", 0.0)
    if report.mask_iou < overlap:
        found.append(f"the masks' IoU is {report.mask_iou:.2f}, {overlap:.4g} is required; {worst}")
    return found + (_lost(agreed) if report.miou_drop is None else [])


def mask_iou(agreed: Result) -> float:
    """Mean IoU of the two masks over the classes with `LOST_SHARE` percent of the reference's pixels: of a class with
    a handful of pixels one near-tie moves the IoU by points."""
    pixels = agreed.confusion.sum(axis=1)
    shown = zip(agreed.classes.values(), pixels, strict=True)
    overlaps = [iou for iou, own in shown if iou is not None and own >= LOST_SHARE / 100 * pixels.sum()]
    return float(np.mean(overlaps))


def _lost(agreed: Result) -> list[str]:
    pixels, hits = agreed.confusion.sum(axis=1), np.diagonal(agreed.confusion)
    return [
        f"class {name} is lost: {found} of the reference's {whole} pixels are found"
        for name, whole, found in zip(agreed.classes, pixels, hits, strict=True)
        if whole >= LOST_SHARE / 100 * pixels.sum() and found < LOST_FOUND / 100 * whole
    ]
