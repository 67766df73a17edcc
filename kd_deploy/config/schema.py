"""What a recipe may say: every section and key, with its type, range and default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from kd_deploy.config.architectures import ARCHITECTURES, Arch
from kd_deploy.config.data import Data
from kd_deploy.config.section import (
    Float,
    Int,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
    Size,
    Text,
    problem,
)
from kd_deploy.config.terms import Supervised, Term
from kd_deploy.config.views import Views


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
            raise problem(f"must be low then high, not [{scale[0]:g}, {scale[1]:g}]")
        return scale


class Train(Section):
    iterations: PositiveInt
    batch_size: Annotated[Int, Field(ge=2)]  # batch norm of a pooled branch needs two
    crop: Size
    seed: NonNegativeInt = 0
    optimizer: Optimizer = Optimizer()
    lr: PositiveFloat = 0.01  # the encoder's
    head_lr: PositiveFloat = 1.0  # times lr: the decoder's, the head's and the adapters'
    lr_schedule: LrSchedule = LrSchedule()
    augment: Augment = Augment()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip: PositiveFloat | None = None  # gradient norm
    accumulate: PositiveInt = 1  # parts that a batch goes through in; ohem and cirkd see a part alone
    ema: Annotated[Float, Field(gt=0, lt=1)] | None = None  # decay; the averaged weights are scored and kept
    channels_last: StrictBool = False  # the student; the teacher always is
    compile: StrictBool = False  # torch.compile, student and teacher
    batchnorm: Literal["sync", "local", "frozen"] = "sync"  # over the GPUs, of each process, or as it is
    workers: NonNegativeInt = 0
    log_every: PositiveInt = 20
    keep: Literal["last", "best"] = "last"  # whose weights become student.safetensors

    @field_validator("accumulate")
    @classmethod
    def _parts_are_whole(cls, parts: int, info: ValidationInfo) -> int:
        batch = info.data.get("batch_size")
        if batch is not None and (batch % parts or batch // parts < 2):
            raise problem(f"must divide the batch of {batch} into parts of two pictures or more, not {parts}")
        return parts

    @field_validator("lr_schedule")
    @classmethod
    def _warmup_ends(cls, schedule: LrSchedule, info: ValidationInfo) -> LrSchedule:
        iterations = info.data.get("iterations")  # absent where it is wrong itself
        if iterations is not None and schedule.warmup >= iterations:
            text = f"must be less than train's iterations ({iterations}), not {schedule.warmup}"
            raise problem(text, "warmup")
        return schedule


class Network(Section):
    arch: Arch
    encoder: Text
    weights: Text = "imagenet"  # imagenet | none | a run, a file, or hub:ID


class Teacher(Network):
    train: Train | None = None  # how the teacher itself is trained; absent: as the student
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # while it teaches; auto: bf16 on a GPU that has it
    cache: Path | None = None  # folder that keeps its outputs of every view, in half precision

    @field_validator("train")
    @classmethod
    def _crop_fits(cls, train: Train | None, info: ValidationInfo) -> Train | None:
        if train is not None and "arch" in info.data:
            _check_crop(train.crop, [info.data["arch"]])
        return train


def _check_crop(crop: Size, archs: Sequence[Arch]) -> None:
    """The networks fail on other sizes, and only in the first step."""
    multiple, arch = max((ARCHITECTURES[arch].multiple, arch) for arch in archs)
    if any(side % multiple for side in crop):
        raise problem(f"must be multiples of {multiple} for {arch}, not {list(crop)}", "crop")
    least, arch = max((ARCHITECTURES[arch].least, arch) for arch in archs)
    if min(crop) < least:
        raise problem(f"must be {least} or more on both sides for {arch}, not {list(crop)}", "crop")


class Evaluate(Views):
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
    distill: list[Term] = Field(default_factory=list)
    train: Train
    evaluate: Evaluate = Evaluate()
    export: Export = Export()

    def network(self, role: str) -> Network:
        """The section of the network that has this role: teacher or student."""
        return self.teacher if role == "teacher" else self.student

    def training(self, role: str) -> Train:
        """How that network is trained."""
        return (self.teacher.train if role == "teacher" else None) or self.train

    def seeded(self, seed: int) -> Self:
        """The recipe with `seed` for every training it describes."""
        train = self.train.model_copy(update={"seed": seed})
        own = self.teacher.train and self.teacher.train.model_copy(update={"seed": seed})
        teacher = self.teacher.model_copy(update={"train": own})
        return self.model_copy(update={"train": train, "teacher": teacher})

    @field_validator("distill")
    @classmethod
    def _names_differ(cls, terms: list[Term]) -> list[Term]:
        names = [term.name for term in terms]
        for name, count in Counter(names).items():
            if count > 1:
                again = names.index(name, names.index(name) + 1)
                raise problem(
                    f"'{name}' stands twice; logs name a term by its method and taps", again, "method"
                )
        return terms

    @model_validator(mode="after")
    def _something_teaches(self) -> Self:
        if self.supervised.weight == 0 and not any(term.weight for term in self.distill):
            raise problem("every weight is zero, so that nothing teaches the student", "supervised", "weight")
        return self

    @model_validator(mode="after")
    def _schedules_fit(self) -> Self:
        places: list[tuple[tuple[str | int, ...], Supervised | Term]] = [(("supervised",), self.supervised)]
        places += [(("distill", number), term) for number, term in enumerate(self.distill)]
        for place, term in places:
            over = term.schedule.over
            if over and over[1] > self.train.iterations:
                text = f"ends at step {over[1]}, outside the run: train.iterations is {self.train.iterations}"
                raise problem(text, *place, "schedule", "over")
        return self

    @field_validator("train")
    @classmethod
    def _crop_fits(cls, train: Train, info: ValidationInfo) -> Train:
        networks = [info.data[name] for name in ("student", "teacher") if name in info.data]
        if networks:
            _check_crop(train.crop, [network.arch for network in networks])
        return train
