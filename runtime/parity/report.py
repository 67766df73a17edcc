"""What the gate found: both sides' scores, how far they are apart, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from kd_deploy.runtime.environment import versions
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Result
from kd_deploy.runtime.model import Description
from kd_deploy.runtime.segment import Mask


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

    @classmethod
    def of(cls, result: Result, model: Description) -> Side:
        return cls(result.miou, result.pixel_accuracy, result.boundary_iou, **asdict(model))


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
        boundary_drop: the same of boundary IoU.
        pixel_agreement: percent of all pixels, labelled or not, on which the masks agree.
        mask_iou: IoU of the two masks in points, the mean over the classes that the reference shows.
        worst_class: the class whose IoU dropped most or, without labels, whose two masks overlap least.
        worst_class_drop: by how many points its IoU dropped or, without labels, its overlap is short of 100.
        frames: how many were compared.
        data, split: of which data set; None: of none that is known, such as the golden frames.
        golden: the reference's masks are the bundle's stored ones.
        thresholds: what was asked for.
        reasons: why it fails, a line each; empty if it passes.
        worst: the frames that agree least, worst first.
        date: UTC, ISO 8601.
        kd_deploy: the version that judged; None in a checkout that is not installed.
    """

    reference: Side
    candidate: Side
    miou_drop: float | None
    boundary_drop: float | None
    pixel_agreement: float
    mask_iou: float
    worst_class: str
    worst_class_drop: float
    frames: int
    golden: bool
    thresholds: dict[str, float]
    reasons: Sequence[str]
    worst: Sequence[Pair] = field(repr=False, compare=False)
    data: str | None = None
    split: str | None = None
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    kd_deploy: str | None = field(default_factory=lambda: versions().get("kd-deploy"))

    @property
    def verdict(self) -> str:
        """pass or fail."""
        return "fail" if self.reasons else "pass"

    def to_json(self) -> dict[str, Any]:
        """The content of parity.json, and an entry of the ledger."""
        return {
            "verdict": self.verdict,
            "reference": asdict(self.reference),
            "candidate": asdict(self.candidate),
            "miou_drop": self.miou_drop,
            "boundary_drop": self.boundary_drop,
            "pixel_agreement": self.pixel_agreement,
            "mask_iou": self.mask_iou,
            "worst_class": self.worst_class,
            "worst_class_drop": self.worst_class_drop,
            "frames": self.frames,
            "data": self.data,
            "split": self.split,
            "golden": self.golden,
            "reasons": list(self.reasons),
            "thresholds": self.thresholds,
            "date": self.date,
            "kd_deploy": self.kd_deploy,
        }
