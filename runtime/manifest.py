"""What a bundle's manifest must say: every key that is read, by type, and the numbers in their ranges."""

from __future__ import annotations

import reprlib
from typing import Any

from kd_deploy.runtime.frames import IGNORE

_NUMBER = (int, float)
_NUMBER_OR_NULL = (int, float, type(None))
_TEXT_OR_NULL = (str, type(None))
_ANY = ""
_OPTIONAL = "?"

SOURCE: dict[str, Any] = {
    "role": str,
    "terms": [str],
    "seed": int,
    "iterations": int,
    "weights_of_step": int,
    "miou": _NUMBER_OR_NULL,
    "boundary_iou": _NUMBER_OR_NULL,
    "commit": _TEXT_OR_NULL,
}
"""What a manifest keeps of the summary of the run that it comes from."""

_FORM: dict[str, Any] = {
    "classes": [str],
    "palette": [[int]],
    "ignore": int,
    "input": {"name": str, "size": [int], "multiple?": int, "least?": int},
    "output": {"name": str},
    "opset": int,
    "models": {_ANY: str},
    "precisions": {_ANY: {"note?": str}},
    "reference": str,
    "network": {"arch": str, "encoder": str},
    "golden": [{"name": str, "frame": str, "mask": str}],
    "thresholds": {
        "max_miou_drop": _NUMBER,
        "max_boundary_drop?": _NUMBER,
        "min_pixel_agreement": {_ANY: _NUMBER},
    },
    "golden_limits?": {_ANY: {_ANY: _NUMBER}},
    "data": {"format": str},
    "source": {**SOURCE, "views?": {}},
    "tools": {_ANY: _TEXT_OR_NULL},
    "created": str,
    "files": {_ANY: str},
}
"""[X] is a list of X, _ANY stands for any keys, and a key that ends in _OPTIONAL may be missing. There may be more."""

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    _NUMBER: "a number",
    _NUMBER_OR_NULL: "a number or null",
    _TEXT_OR_NULL: "text or null",
    list: "a list",
    dict: "a section",
}


def check_manifest(manifest: dict[str, Any]) -> None:
    """Raise a ValueError that names the first key that is missing, of another type, or out of range."""
    check(manifest, _FORM)
    _check_values(manifest)


def check(value: Any, form: Any, key: str = "") -> None:
    """Raise a ValueError that names the first key of `value` that is missing or of another type than `form` says."""
    kind = type(form) if isinstance(form, (dict, list)) else form
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key or 'it'} must be {_WORDS[kind]}, not {reprlib.repr(value)}")
    if isinstance(form, list):
        for number, item in enumerate(value):
            check(item, form[0], f"{key}[{number}]")
    elif isinstance(form, dict):
        for name, inner in (dict.fromkeys(value, form[_ANY]) if _ANY in form else form).items():
            own = name if _ANY in form else name.removesuffix(_OPTIONAL)
            place = f"{key}.{own}" if key else own
            if own in value:
                check(value[own], inner, place)
            elif own == name:
                raise ValueError(f"{place} is missing")


def _check_values(manifest: dict[str, Any]) -> None:
    count, palette = len(manifest["classes"]), manifest["palette"]
    if not 1 <= count <= IGNORE:
        raise ValueError(f"classes must be 1 to {IGNORE} names, not {count}")
    if len(palette) != count or not all(
        len(row) == 3 and 0 <= min(row) <= max(row) <= 255 for row in palette
    ):
        raise ValueError(f"palette must have red, green and blue, 0 to 255, of each of the {count} classes")
    if not manifest["golden"]:
        raise ValueError("golden must name a frame")
    _check_input(manifest["input"])
    if "fp32" not in manifest["thresholds"]["min_pixel_agreement"]:
        raise ValueError("thresholds.min_pixel_agreement.fp32 is missing")


def _check_input(ends: dict[str, Any]) -> None:
    size, batch = ends["size"], ends.get("batch", "dynamic")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"input.size must be a height and a width in pixels, not {size}")
    if batch != "dynamic" and (type(batch) is not int or batch < 1):
        raise ValueError(f"input.batch must be a number of frames, or dynamic, not {batch!r}")
    multiple, least = ends.get("multiple", 1), ends.get("least", 1)
    if multiple < 1:
        raise ValueError(f"input.multiple must be 1 or more, not {multiple}")
    if any(side % multiple or side < least for side in size):
        raise ValueError(f"input.size must be multiples of {multiple}, {least} or more, not {size}")
