"""The classes file of the user's own data set: a class in each line, its id the line's place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.labels import LabelIds, pascal_palette
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE

_NO_CLASS = "ignore"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_ID = re.compile(r"[0-9]{1,3}")
_LAST_ID = 255

Color = tuple[int, ...]


@dataclass(frozen=True)
class Classes:
    """What a classes file says.

    Attributes:
        names: class names by class id.
        palette: (C, 3) uint8, RGB.
        ids: what the ids in the label maps mean.
    """

    names: tuple[str, ...]
    palette: NDArray[np.uint8]
    ids: LabelIds


def read_classes(file: Path) -> Classes:
    """Read a classes file.

    Each line is `NAME` or `NAME: #rrggbb`; the first one's id is 0, the next one's 1. A line `ignore` has an id too,
    whose pixels do not count, and `ignore: 254 255` names more such ids. Blank lines and those that begin with # do
    not count. A class without a colour has the next of PASCAL VOC's that no other class has.

    Raises:
        UserError: the file cannot be read, or a line is wrong; the message names it.
    """
    colors: dict[str, Color | None] = {}
    lines: list[str] = []  # by id: a class, or `ignore`
    more: dict[int, int] = {}  # further ignored ids, and the line of each
    for number, line in _lines(file):
        name, colon, value = (part.strip() for part in line.partition(":"))
        try:
            if name == _NO_CLASS and colon:
                more |= dict.fromkeys(_ids(value), number)
                continue
            if name != _NO_CLASS:
                _check_name(name, colors)
                colors[name] = _color(value) if colon else None
            lines.append(name)
            if len(lines) > _LAST_ID + 1 or len(colors) > IGNORE:
                raise ValueError(
                    f"one class too many; {IGNORE} fit into a label map that can also say 'ignored'"
                )
        except ValueError as error:
            raise UserError(f"{file}:{number}: {error}") from error
    if not colors:
        raise UserError(f"{file}: names no class; write one in each line")
    for id_, number in more.items():
        if id_ < len(lines):
            raise UserError(
                f"{file}:{number}: the id {id_} is that of {lines[id_]!r}, by its place; leave it out"
            )
    names = tuple(colors)
    table = {id_: names.index(name) for id_, name in enumerate(lines) if name != _NO_CLASS}
    ignored = [id_ for id_, name in enumerate(lines) if name == _NO_CLASS] + sorted(more)
    return Classes(
        names, _palette(list(colors.values())), LabelIds(table, ignored, _legend(file, table, ignored))
    )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.strip().startswith("#"):
            yield number, line


def _check_name(name: str, others: dict[str, Color | None]) -> None:
    if not name:
        raise ValueError("lacks a name before the colon; write NAME or NAME: #rrggbb")
    if name in others:
        raise ValueError(f"{name!r} stands there twice; give each class a name of its own")


def _color(text: str) -> Color:
    if not _COLOR.fullmatch(text):
        raise ValueError(f"{text!r} is no colour; write #rrggbb, such as #804080, or no colon")
    return tuple(bytes.fromhex(text[1:]))


def _ids(text: str) -> list[int]:
    words = text.split()
    wrong = [word for word in words if not _ID.fullmatch(word) or int(word) > _LAST_ID]
    if wrong or not words:
        raise ValueError(
            f"{' '.join(wrong)!r} is no id; write ignore: and ids from 0 to {_LAST_ID}, such as ignore: 255"
        )
    return [int(word) for word in words]


def _palette(colors: Sequence[Color | None]) -> NDArray[np.uint8]:
    """(C, 3): the colours given, and for None those of PASCAL VOC in order, without black and without the given."""
    free = (color for row in pascal_palette(256)[1:] if (color := tuple(row.tolist())) not in colors)
    return np.array([next(free) if color is None else color for color in colors], np.uint8)


def _legend(file: Path, classes: dict[int, int], ignored: Sequence[int]) -> str:
    first, last = min(classes), max(classes)
    has = f"{file.name} has the ids {first} to {last}"
    if not ignored:
        return f"{has} and ignores none (a line `ignore: {IGNORE}` would)"
    return f"{has} and ignores {', '.join(map(str, ignored))}"
