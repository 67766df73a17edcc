"""The terms of a recipe's objective: what each method may be told, and how its weight moves over the run.

A method's options have the defaults of its function in `kd_deploy.distill.methods` (a test compares).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from kd_deploy.config.section import (
    Float,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Text,
    problem,
)


class Schedule(Section):
    """A factor on a weight: from `start` to `end` over the whole run, or over the steps `over`."""

    kind: Literal["constant", "linear", "cosine", "poly", "warmup"] = "constant"
    start: NonNegativeFloat = 1.0  # warm-up: 0
    end: NonNegativeFloat = 1.0
    power: PositiveFloat = 0.9  # poly's
    over: tuple[NonNegativeInt, PositiveInt] | None = (
        None  # first and last step; absent: 0 and train.iterations
    )

    @model_validator(mode="before")
    @classmethod
    def _warmup_starts_at_zero(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("kind") == "warmup":
            return {"start": 0.0, **section}
        return section

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start == 0 and (self.end == 0 or self.kind == "constant"):
            raise problem("the schedule is zero throughout; leave the term out instead", "start")
        if self.over and self.over[0] >= self.over[1]:
            raise problem(f"must be a first and a later step, not {list(self.over)}", "over")
        if self.kind == "warmup" and not self.over:
            raise problem("a warm-up needs its steps: over: [0, 1500]", "over")
        if self.kind == "constant" and (self.over or self.end not in (1.0, self.start)):
            raise problem("a constant schedule has neither end nor over; give another kind", "kind")
        if self.kind != "constant" and self.start == self.end:
            raise problem(f"the schedule goes from {self.start:g} to {self.end:g}: give start or end", "kind")
        return self


class Ohem(Section):
    """Online hard example mining: which labelled pixels count."""

    threshold: Annotated[Float, Field(gt=0, lt=1)] = (
        0.7  # of the own class's probability: above it a pixel is easy
    )
    keep: Annotated[Float, Field(gt=0, le=1)] = 0.1  # least share of the labelled pixels, the hardest first


class Auxiliary(Section):
    """A second head on a stage of the encoder, while training."""

    tap: Text = "stage3"
    weight: PositiveFloat = 0.4


def _some_above_zero(weights: tuple[float, ...]) -> tuple[float, ...]:
    if not any(weights):
        raise problem("must have a weight above zero")
    return weights


class Supervised(Section):
    """Cross-entropy against the labels."""

    weight: NonNegativeFloat = 1.0
    schedule: Schedule = Schedule()
    class_weights: Annotated[tuple[NonNegativeFloat, ...], AfterValidator(_some_above_zero)] | None = None
    """One for each class; absent: all alike."""
    ohem: Ohem | None = None
    auxiliary: Auxiliary | None = None


class TermSection(Section):
    """What every distillation term has; a method adds its `method`, the default of its `taps`, and its options."""

    method: str
    weight: NonNegativeFloat
    schedule: Schedule = Schedule()
    taps: tuple[Text, ...]

    @property
    def name(self) -> str:
        """What logs call the term: its method, and its taps where they are not the method's usual ones."""
        usual = type(self).model_fields["taps"].default
        return self.method if self.taps == usual else f"{self.method}@{'+'.join(self.taps)}"


class LogitTerm(TermSection):
    """A term that reads both networks' logits."""

    taps: tuple[Literal["logits"]] = ("logits",)


class FeatureTerm(TermSection):
    """A term that reads one tap of both networks."""

    taps: tuple[Text] = ("stage4",)


class NoOptions(Section):
    """A method that has nothing to set."""


class KdOptions(Section):
    temperature: PositiveFloat = 1.0


class KdTerm(LogitTerm):
    method: Literal["kd"]
    options: KdOptions = KdOptions()


class CwdOptions(Section):
    temperature: PositiveFloat = 4.0


class CwdTerm(FeatureTerm):
    """On logits, or on another tap through a 1 x 1 projection to the teacher's channels."""

    method: Literal["cwd"]
    taps: tuple[Text] = ("logits",)
    options: CwdOptions = CwdOptions()


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise problem(f"must be odd (a window has a middle), not {value}")
    return value


class BpkdBodyOptions(Section):
    edge_width: Annotated[PositiveInt, AfterValidator(_odd)] = 7
    temperature: PositiveFloat = 4.0


class BpkdEdgeOptions(BpkdBodyOptions):
    alpha: PositiveFloat = 2.0
    normalizer: Literal["class", "mask"] = "class"


class BpkdBodyTerm(LogitTerm):
    method: Literal["bpkd.body"]
    options: BpkdBodyOptions = BpkdBodyOptions()


class BpkdEdgeTerm(LogitTerm):
    method: Literal["bpkd.edge"]
    options: BpkdEdgeOptions = BpkdEdgeOptions()


class IcsdOptions(Section):
    tau: PositiveFloat = 1.0
    normalize: Literal["rows", "none"] = "rows"


class IcsdTerm(LogitTerm):
    method: Literal["icsd"]
    options: IcsdOptions = IcsdOptions()


class BrdBoundaryOptions(Section):
    tau: PositiveFloat = 1.0


def _once(taps: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(taps)) < len(taps):
        raise problem(f"must name each tap once, not {list(taps)}")
    return taps


class BrdBoundaryTerm(TermSection):
    """The only method that reads several taps, finest first."""

    method: Literal["brd.boundary"]
    taps: Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_once)] = (
        "stage1",
        "stage2",
        "stage3",
        "stage4",
    )
    options: BrdBoundaryOptions = BrdBoundaryOptions()


class RelationOptions(Section):
    tau: PositiveFloat = 0.1
    max_tokens: PositiveInt = 1024


class BrdRelationTerm(FeatureTerm):
    method: Literal["brd.relation"]
    options: RelationOptions = RelationOptions()


class CirkdTerm(FeatureTerm):
    method: Literal["cirkd"]
    taps: tuple[Text] = ("decoder",)
    options: RelationOptions = RelationOptions()


class SkdOptions(Section):
    max_tokens: PositiveInt = 1024


class SkdTerm(FeatureTerm):
    method: Literal["skd"]
    options: SkdOptions = SkdOptions()


class IfvdTerm(FeatureTerm):
    method: Literal["ifvd"]
    taps: tuple[Text] = ("decoder",)
    options: NoOptions = NoOptions()


class DistOptions(Section):
    inter: NonNegativeFloat = 1.0
    intra: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _not_both_zero(self) -> Self:
        if self.inter == self.intra == 0:
            raise problem("inter and intra are both zero; leave the term out instead", "inter")
        return self


class DistTerm(LogitTerm):
    method: Literal["dist"]
    options: DistOptions = DistOptions()


class AtTerm(FeatureTerm):
    method: Literal["at"]
    options: NoOptions = NoOptions()


class MgdOptions(Section):
    mask_ratio: Annotated[NonNegativeFloat, Field(lt=1)] = 0.75


class MgdTerm(FeatureTerm):
    method: Literal["mgd"]
    options: MgdOptions = MgdOptions()


Term = Annotated[
    KdTerm
    | CwdTerm
    | BpkdBodyTerm
    | BpkdEdgeTerm
    | IcsdTerm
    | BrdBoundaryTerm
    | BrdRelationTerm
    | SkdTerm
    | IfvdTerm
    | CirkdTerm
    | DistTerm
    | AtTerm
    | MgdTerm,
    Field(discriminator="method"),
]
