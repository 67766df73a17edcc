"""How a network looks at a picture that is scored: whole or through a sliding window, at which scales, mirrored too."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool, ValidationInfo, field_validator

from kd_deploy.config.section import PositiveFloat, Section, Size, problem


class Views(Section):
    """The views whose scores are averaged; the defaults are one view, the picture as it is.

    Attributes:
        window: height and width in pixels of the scaled picture; None: the whole picture.
        stride: from one window to the next, down and right; absent: two thirds of the window.
        scales: of the picture's sides.
        flip: every scale is seen mirrored, left to right, as well.
    """

    window: Size | None = None
    stride: Annotated[Size | None, Field(validate_default=True)] = None
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0,)
    flip: StrictBool = False

    @field_validator("stride")
    @classmethod
    def _every_pixel_is_seen(cls, stride: Size | None, info: ValidationInfo) -> Size | None:
        window = info.data.get("window")
        if window is None:
            if stride is not None and "window" in info.data:  # else the window is wrong itself
                raise problem("leads from one window to the next; set window too")
            return stride
        if stride is None:
            return round(window[0] * 2 / 3), round(window[1] * 2 / 3)
        if stride[0] > window[0] or stride[1] > window[1]:
            raise problem(f"must not exceed the window, {list(window)}, not {list(stride)}")
        return stride

    @property
    def many(self) -> bool:
        """Whether there is more to see than the whole picture, once, at its own size."""
        return self.window is not None or self.scales != (1.0,) or self.flip

    def to_json(self) -> dict[str, Any]:
        """What stands beside a score."""
        return self.model_dump(mode="json", include=set(Views.model_fields))

    def __str__(self) -> str:
        parts = ["whole picture"]
        if self.window and self.stride:
            parts = [f"{_shown(self.window)} window every {_shown(self.stride)}"]
        if self.scales != (1.0,):
            parts.append(f"scales {', '.join(f'{scale:g}' for scale in self.scales)}")
        return " and ".join([", ".join(parts), *(["flipped"] if self.flip else [])])


WHOLE = Views()
"""One view, the picture as it is: how a deployed network sees it."""


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
