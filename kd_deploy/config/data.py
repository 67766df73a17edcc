"""The `data` section: a data set by its format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kd_deploy.config.section import NonNegativeInt, PositiveInt, Section, Size


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
