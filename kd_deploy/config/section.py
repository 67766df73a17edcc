"""What every section of a recipe is made of: strict keys, plain numbers, and problems that point to a key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def problem(text: str, *at: str | int) -> PydanticCustomError:
    """A problem found by a check of ours; `at` is the key inside the checked value that it points to."""
    return PydanticCustomError("recipe", "{text}", {"text": text, "at": at})


def _not_bool(value: Any) -> Any:
    """Refuse `clip: true`, which pydantic would read as 1."""
    if isinstance(value, bool):
        raise problem(f"must be a number, not {str(value).lower()}")
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


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
