"""What a recipe may say: every section and key, with its type, range and default.

A method's options have the defaults of its function in `kd_deploy.distill.methods` (a test compares).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self


def _problem(text: str, *at: str | int) -> PydanticCustomError:
    """A problem found by a check of ours; `at` is the key inside the checked value that it points to."""
    return PydanticCustomError("recipe", "{text}", {"text": text, "at": at})


def _not_bool(value: Any) -> Any:
    """Refuse `clip: true`, which pydantic would read as 1."""
    if isinstance(value, bool):
        raise _problem(f"must be a number, not {str(value).lower()}")
    return value


Int = Annotated[int, BeforeValidator(_not_bool)]
Float = Annotated[float, BeforeValidator(_not_bool)]
PositiveInt = Annotated[Int, Field(gt=0)]
NonNegativeInt = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]

Size = tuple[PositiveInt, PositiveInt]
"""Height and width in pixels."""

Text = Annotated[str, Field(min_length=1)]

_CROP_MULTIPLE = {"deeplabv3plus": 16, "segformer": 32}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CamVidData(Section):
    """Real frames in the SegNet folder layout: train/, trainannot/, val/, valannot/."""

    format: Literal["camvid"]
    root: Path
    size: Size | None = None  # resize every frame; absent: as it is on disk


class SyntheticData(Section):
    """Street scenes drawn in memory, deterministic by seed and index."""

    format: Literal["synthetic"]
    size: Size = (128, 256)
    train: Annotated[PositiveInt, Field(le=1_000_000)] = 256
    val: PositiveInt = 64
    seed: NonNegativeInt = 0


Data = Annotated[CamVidData | SyntheticData, Field(discriminator="format")]


class Schedule(Section):
    """A factor on a weight over the whole run: from `start` to `end`."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    start: NonNegativeFloat = 1.0
    end: NonNegativeFloat = 1.0

    @model_validator(mode="after")
    def _not_always_zero(self) -> Self:
        if self.start == 0 and (self.end == 0 or self.kind == "constant"):
            raise _problem("the schedule is zero throughout; leave the term out instead", "start")
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
        raise _problem(f"must be odd (a window has a middle), not {value}")
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


class Optimizer(Section):
    name: Literal["sgd", "adamw"] = "sgd"
    momentum: NonNegativeFloat = 0.9  # SGD's; AdamW keeps its own betas
    weight_decay: NonNegativeFloat = 1e-4


class LrSchedule(Section):
    """The learning rate's way from `train.lr` to 0, by iteration."""

    kind: Literal["poly", "cosine"] = "poly"
    power: PositiveFloat = 0.9
    warmup: NonNegativeInt = 0  # iterations of linear warm-up


class Augment(Section):
    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    flip: StrictBool = True
    color: NonNegativeFloat = 0.4  # strength of brightness, contrast and saturation jitter

    @field_validator("scale")
    @classmethod
    def _low_before_high(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise _problem(f"must be low then high, not [{scale[0]:g}, {scale[1]:g}]")
        return scale


class Train(Section):
    iterations: PositiveInt
    batch_size: Annotated[Int, Field(ge=2)]  # batch norm of a pooled branch needs two
    crop: Size
    seed: NonNegativeInt = 0
    optimizer: Optimizer = Optimizer()
    lr: PositiveFloat = 0.01
    lr_schedule: LrSchedule = LrSchedule()
    augment: Augment = Augment()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip: PositiveFloat | None = None  # gradient norm
    workers: NonNegativeInt = 0
    log_every: PositiveInt = 20
    keep: Literal["last", "best"] = "last"  # whose weights become student.safetensors

    @field_validator("lr_schedule")
    @classmethod
    def _warmup_ends(cls, schedule: LrSchedule, info: ValidationInfo) -> LrSchedule:
        iterations = info.data.get("iterations")  # absent where it is wrong itself
        if iterations is not None and schedule.warmup >= iterations:
            text = f"must be less than train's iterations ({iterations}), not {schedule.warmup}"
            raise _problem(text, "warmup")
        return schedule


class Network(Section):
    arch: Literal["deeplabv3plus", "segformer"]
    encoder: Text
    weights: Text = "imagenet"  # imagenet | none | a run, a file, or hub:ID


class Teacher(Network):
    train: Train | None = None  # how the teacher itself is trained; absent: as the student

    @field_validator("train")
    @classmethod
    def _crop_fits(cls, train: Train | None, info: ValidationInfo) -> Train | None:
        if train is not None and "arch" in info.data:
            _check_crop(train.crop, [info.data["arch"]])
        return train


def _check_crop(crop: Size, archs: Iterable[str]) -> None:
    """The networks fail on other sizes, and only in the first step."""
    multiple, arch = max((_CROP_MULTIPLE[arch], arch) for arch in archs)
    if any(side % multiple for side in crop):
        raise _problem(f"must be multiples of {multiple} for {arch}, not {list(crop)}", "crop")


class Evaluate(Section):
    every: PositiveInt = 500  # iterations between evaluations, and checkpoints


class Export(Section):
    size: Size | None = None  # absent: the data's size
    golden: PositiveInt = 8  # frames that travel with the bundle
    max_miou_drop: NonNegativeFloat = 0.5  # points, the parity gate


class Recipe(Section):
    data: Data
    student: Network
    teacher: Teacher
    supervised: Supervised = Supervised()
    distill: list[Term] = []
    train: Train
    evaluate: Evaluate = Evaluate()
    export: Export = Export()

    def seeded(self, seed: int) -> Self:
        """The recipe with `seed` for every training it describes."""
        train = self.train.model_copy(update={"seed": seed})
        own = self.teacher.train and self.teacher.train.model_copy(update={"seed": seed})
        teacher = self.teacher.model_copy(update={"train": own})
        return self.model_copy(update={"train": train, "teacher": teacher})

    @field_validator("distill")
    @classmethod
    def _methods_differ(cls, terms: list[Term]) -> list[Term]:
        methods = [term.method for term in terms]
        for method, count in Counter(methods).items():
            if count > 1:
                again = methods.index(method, methods.index(method) + 1)
                raise _problem(f"'{method}' stands twice; logs name a term by its method", again, "method")
        return terms

    @field_validator("train")
    @classmethod
    def _crop_fits(cls, train: Train, info: ValidationInfo) -> Train:
        networks = [info.data[name] for name in ("student", "teacher") if name in info.data]
        if networks:
            _check_crop(train.crop, [network.arch for network in networks])
        return train
