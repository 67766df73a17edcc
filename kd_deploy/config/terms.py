"""The terms of a recipe's objective: what each method may be told, and how its weight moves over the run.

A method's options have the defaults of its function in `kd_deploy.distill.methods` (a test compares).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from kd_deploy.config.section import NonNegativeFloat, PositiveFloat, PositiveInt, Section, problem


class Schedule(Section):
    """A factor on a weight over the whole run: from `start` to `end`."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    start: NonNegativeFloat = 1.0
    end: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _not_always_zero(self) -> Self:
        if self.start == 0 and (self.end == 0 or self.kind == "constant"):
            raise problem("the schedule is zero throughout; leave the term out instead", "start")
        return self


class Supervised(Section):
    """Cross-entropy against the labels."""

    weight: NonNegativeFloat = 1.0
    schedule: Schedule = Schedule()


class LogitTerm(Section):
    """A distillation term that reads both networks' logits."""

    method: str
    weight: NonNegativeFloat
    schedule: Schedule = Schedule()
    taps: tuple[Literal["logits"]] = ("logits",)


class KdOptions(Section):
    temperature: PositiveFloat = 1.0


class KdTerm(LogitTerm):
    method: Literal["kd"]
    options: KdOptions = KdOptions()


class CwdOptions(Section):
    temperature: PositiveFloat = 4.0


class CwdTerm(LogitTerm):
    method: Literal["cwd"]
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


Term = Annotated[KdTerm | CwdTerm | BpkdBodyTerm | BpkdEdgeTerm, Field(discriminator="method")]
