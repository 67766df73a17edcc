"""Draw masks: colours, blended frames, a legend, pictures side by side. Everything drawn is BGR."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.frames import IGNORE

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Palette = NDArray[np.uint8]

ALPHA = 0.5
"""Weight of the colours over the frame."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DARK = (24, 24, 24)
_LIGHT = (240, 240, 240)
_PANEL_SHARE = 0.12
"""A legend panel may hide this share of the frame; a larger one goes below it."""
_PANEL_ALPHA = 0.7


def colorize(mask: Mask, palette: Palette) -> Image:
    """The mask in its classes' colours.

    Args:
        mask: (H, W) uint8 class ids; 255 and ids outside the palette become black.
        palette: (C, 3) uint8, RGB.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = palette[:, ::-1]
    table[IGNORE] = 0
    picture: Image = cv2.applyColorMap(mask, table)
    return picture


def blend(
    frame: Image, mask: Mask, palette: Palette, alpha: float = ALPHA, out: Image | None = None
) -> Image:
    """The frame under its mask's colours; pixels of id 255 show the frame as it is.

    Args:
        frame: (H, W, 3) uint8, BGR.
        mask: (H, W) uint8 class ids.
        palette: (C, 3) uint8, RGB.
        alpha: weight of the colours, 0 to 1.
        out: written and returned where given; may be `frame` itself.
    """
    colors = colorize(mask, palette)
    if mask.max(initial=0) == IGNORE:
        colors = cv2.copyTo(frame, (mask == IGNORE).view(np.uint8), colors)
    blended: Image = cv2.addWeighted(colors, alpha, frame, 1 - alpha, 0, dst=out)
    return blended


class Overlay:
    """Blended frames with a legend that is rendered once, for every frame of one size.

    The legend is a half-transparent panel in the top left corner where it hides little of the frame, else
    (small frames, many classes) a strip below it.

    Args:
        class_names: class names by id.
        palette: (C, 3) uint8, RGB.
        size: height and width of the frames.

    Attributes:
        output_size: height and width of what `draw` returns, the strip included.
    """

    def __init__(self, class_names: Sequence[str], palette: Palette, size: tuple[int, int]) -> None:
        self.palette = palette
        self._legend = _Legend(class_names, palette, size)
        self.output_size = self._legend.output_size

    def draw(self, frame: Image, mask: Mask, alpha: float = ALPHA) -> Image:
        """A new picture of `output_size`: the frame, its mask's colours and the legend."""
        canvas = np.empty((*self.output_size, 3), np.uint8)
        blend(frame, mask, self.palette, alpha, out=canvas[: frame.shape[0]])
        return self._legend.onto(canvas)


def side_by_side(pictures: Sequence[Image], titles: Sequence[str] = ()) -> Image:
    """Pictures of one height in a row, each under its title where titles are given."""
    height, width = pictures[0].shape[:2]
    gap = np.full((height, 2 * max(1, width // 320), 3), _DARK, np.uint8)  # even, as video encoders need
    row: list[Image] = [pictures[0]]
    for picture in pictures[1:]:
        row += [gap, picture]
    joined: Image = cv2.hconcat(row)
    if not titles:
        return joined
    scale, line = _text_size(height)
    bar = np.full((line + line // 2, joined.shape[1], 3), _DARK, np.uint8)
    left = 0
    for picture, title in zip(pictures, titles, strict=True):
        _text(bar[:, left : left + picture.shape[1]], title, (line // 2, line), scale)
        left += picture.shape[1] + gap.shape[1]
    return np.concatenate([bar, joined])


def caption(picture: Image, words: str) -> None:
    """Write words on dark ground into the top right corner of a picture, (H, W, 3) uint8 BGR, in place.

    They shrink to the picture's width.
    """
    scale, line = _text_size(picture.shape[0])
    width, _ = cv2.getTextSize(words, _FONT, scale, _thickness(scale))[0]
    room = picture.shape[1] - line
    scale *= min(1.0, room / width)
    width = min(width, room)
    box = picture[: line + line // 2, -(width + line) :]
    box[:] = _DARK
    _text(box, words, (line // 2, line), scale)


class _Legend:
    """A rendered legend: a panel on the frame, or a strip below it.

    Attributes:
        output_size: height and width of the picture it is drawn onto.
    """

    def __init__(self, names: Sequence[str], palette: Palette, size: tuple[int, int]) -> None:
        colors = palette[: len(names), ::-1].tolist()
        height, width = size
        scale, line = _text_size(height)
        entry = _entry_width(names, scale, line)
        margin = line // 2
        self._top, self._left = margin, margin
        panel = (len(names) * line + margin, entry + margin)
        if panel[0] + 2 * margin <= height and panel[0] * panel[1] <= _PANEL_SHARE * height * width:
            self.picture = _render(names, colors, panel, 1, scale, line)
            self.output_size = size
        else:
            room = max(1, width - margin)
            scale *= min(1.0, room / entry)  # a frame narrower than one entry
            entry = min(entry, room)
            columns = max(1, min(len(names), room // entry))
            rows = -(-len(names) // columns)
            strip = rows * line + margin
            strip += strip % 2  # video encoders take even heights only
            self.picture = _render(names, colors, (strip, width), columns, scale, line)
            self.output_size = height + strip, width
            self._top, self._left = height, 0
        self._below = self._top == height
        self._solid = cv2.compare(cv2.cvtColor(self.picture, cv2.COLOR_BGR2GRAY), _DARK[0], cv2.CMP_NE)

    def onto(self, canvas: Image) -> Image:
        """Draw onto `canvas`, (*output_size, 3), in place."""
        height, width = self.picture.shape[:2]
        place = canvas[self._top : self._top + height, self._left : self._left + width]
        if self._below:
            place[:] = self.picture
        else:
            cv2.addWeighted(self.picture, _PANEL_ALPHA, place, 1 - _PANEL_ALPHA, 0, dst=place)
            cv2.copyTo(self.picture, self._solid, place)
        return canvas


def _render(
    names: Sequence[str],
    colors: Sequence[Sequence[int]],
    size: tuple[int, int],
    columns: int,
    scale: float,
    line: int,
) -> Image:
    """Swatches and names on dark ground, (*size, 3), filled column by column."""
    picture = np.full((*size, 3), _DARK, np.uint8)
    margin = line // 4
    rows = -(-len(names) // columns)
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        x = margin + (i // rows) * ((size[1] - 2 * margin) // columns)
        y = margin + (i % rows) * line
        box = (x + line // 6, y + line // 6), (x + line - line // 6, y + line - line // 6)
        cv2.rectangle(picture, *box, color, cv2.FILLED)
        cv2.rectangle(picture, *box, _LIGHT, 1)
        _text(picture, name, (x + line + line // 4, y + line - line // 4), scale)
    return picture


def _entry_width(names: Sequence[str], scale: float, line: int) -> int:
    """Width of the longest entry: swatch, name and the space after it."""
    thickness = _thickness(scale)
    longest = max((cv2.getTextSize(name, _FONT, scale, thickness)[0][0] for name in names), default=0)
    return 2 * line + int(longest)


def _text_size(height: int) -> tuple[float, int]:
    """Font scale and line height in pixels for a picture of `height`: readable from 0.4 on."""
    scale = max(0.4, height / 1500)
    return scale, round(38 * scale)


def _thickness(scale: float) -> int:
    return max(1, round(1.6 * scale))


def _text(picture: Image, text: str, origin: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, origin, _FONT, scale, _LIGHT, _thickness(scale), cv2.LINE_AA)
