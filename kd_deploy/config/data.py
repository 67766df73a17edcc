"""The `data` section: a data set by its format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from kd_deploy.config.section import NonNegativeInt, PositiveInt, Section, Size, problem


class FilesData(Section):
    """Labelled frames on disk; without `size` and `short_side` each keeps the size it has on disk."""

    format: str
    root: Path
    size: Size | None = None  # resize every frame to this height and width
    short_side: PositiveInt | None = None  # or: keep its shape, the shorter side this many pixels
    cache: Path | None = None  # folder that keeps decoded frames, for training

    @field_validator("short_side")
    @classmethod
    def _one_of_two(cls, short_side: int | None, info: ValidationInfo) -> int | None:
        if short_side is not None and info.data.get("size") is not None:
            raise problem("cannot go with size; size gives all frames one shape, short_side keeps theirs")
        return short_side


class CamVidData(FilesData):
    """Real frames in the SegNet folder layout: train/, trainannot/, val/, valannot/."""

    format: Literal["camvid"]


class CityscapesData(FilesData):
    """Cityscapes as it is downloaded: leftImg8bit/ and gtFine/; 19 classes."""

    format: Literal["cityscapes"]


class VocData(FilesData):
    """PASCAL VOC 2012, VOCdevkit/VOC2012, augmented where SegmentationClassAug/ is there; 21 classes."""

    format: Literal["voc"]


class Ade20kData(FilesData):
    """The scene parsing benchmark ADEChallengeData2016: images/ and annotations/; 150 classes."""

    format: Literal["ade20k"]


class CocoStuff10kData(FilesData):
    """COCO-Stuff 10K v1.1, as it is downloaded or as MMSegmentation converts it; 171 classes."""

    format: Literal["coco_stuff10k"]


class FolderData(FilesData):
    """Your own: images/ and masks/ for each split, and classes.txt."""

    format: Literal["folder"]


class SyntheticData(Section):
    """Street scenes drawn in memory, deterministic by seed and index."""

    format: Literal["synthetic"]
    size: Size = (128, 256)
    train: Annotated[PositiveInt, Field(le=1_000_000)] = 256
    val: PositiveInt = 64
    seed: NonNegativeInt = 0


Data = Annotated[
    CamVidData | CityscapesData | VocData | Ade20kData | CocoStuff10kData | FolderData | SyntheticData,
    Field(discriminator="format"),
]
