"""Read a bundle: its manifest, its model files, its golden frames, all verified before use."""

from __future__ import annotations

import hashlib
import json
import reprlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import write_json
from kd_deploy.runtime.frames import IGNORE
from kd_deploy.runtime.images import read_image, read_label

SCHEMA = 2
MANIFEST = "manifest.json"
LEDGER = "ledger.json"

_CPU = "-cpu"
"""Ends the name of a model whose graph is made for CPUs."""

_NUMBER = (int, float)
_ANY = ""

_FORM: dict[str, Any] = {
    "classes": [str],
    "palette": [[int]],
    "input": {"size": [int]},
    "models": {_ANY: str},
    "reference": str,
    "network": {"arch": str, "encoder": str},
    "golden": [{"name": str, "frame": str, "mask": str}],
    "thresholds": {"max_miou_drop": _NUMBER, "min_pixel_agreement": {_ANY: _NUMBER}},
    "data": {"format": str},
    "files": {_ANY: str},
}
"""What is read of a manifest, by type; [X] is a list of X, _ANY stands for any keys. There may be more."""

_OPTIONAL: dict[str, Any] = {"golden_limits": {_ANY: {_ANY: _NUMBER}}}

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    _NUMBER: "a number",
    list: "a list",
    dict: "a section",
}


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files match their manifest.

    Attributes:
        path: the bundle's folder.
        manifest: manifest.json as it was read.
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read and verify a bundle.

        Raises:
            UserError: no bundle there, one of another schema, or a file that is missing or was changed.
        """
        file = path / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"{path}: is no bundle, {MANIFEST} cannot be read; write one with kd-deploy export"
            ) from error
        except ValueError as error:
            raise UserError(f"{file}: is damaged ({error}); export the bundle again") from error
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            found = manifest.get("schema") if isinstance(manifest, dict) else None
            raise UserError(f"{file}: schema {found!r}, this version reads {SCHEMA}; export the bundle again")
        bundle = cls(path, manifest)
        bundle._verify()
        return bundle

    def _verify(self) -> None:
        try:
            _check(self.manifest, _FORM)
            _check(self.manifest, {key: form for key, form in _OPTIONAL.items() if key in self.manifest})
            _check_values(self.manifest)
        except ValueError as error:
            raise UserError(f"{self.path / MANIFEST}: {error}; export the bundle again") from error
        for name, expected in self.manifest["files"].items():
            file = self.file(name)
            if not file.is_file():
                raise UserError(f"{file}: is missing from the bundle; copy or export the bundle again")
            if sha256(file) != expected:
                raise UserError(
                    f"{file}: was changed after the export (its sha256 is not the manifest's); "
                    "copy or export the bundle again"
                )

    def file(self, name: str) -> Path:
        """The path of a file that the manifest names.

        Raises:
            UserError: the name leads out of the bundle.
        """
        there = PureWindowsPath(name)  # which knows drives and backslashes, and / too
        if there.anchor or ".." in there.parts or "\\" in name:
            raise UserError(
                f"{self.path / MANIFEST}: {name!r} leads out of the bundle; do not use this bundle"
            )
        return self.path / name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(self.manifest["classes"])

    @property
    def palette(self) -> NDArray[np.uint8]:
        """(C, 3) uint8, RGB: the colour of each class."""
        return np.array(self.manifest["palette"], np.uint8).reshape(len(self.classes), 3)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the frames the models take."""
        height, width = self.manifest["input"]["size"]
        return int(height), int(width)

    @property
    def batch(self) -> int | None:
        """Frames in one run of the models; None: any number."""
        number = self.manifest["input"].get("batch")
        return number if isinstance(number, int) else None

    def min_agreement(self, precision: str) -> float:
        """Percent of pixels that a precision must share with the reference."""
        limits = self.manifest["thresholds"]["min_pixel_agreement"]
        return float(limits.get(precision, limits.get(precision.removesuffix(_CPU), limits["fp32"])))

    def golden_limits(self, precision: str) -> dict[str, float]:
        """What the golden frames ask of a precision: `min_pixel_agreement` and `min_mask_iou`, as export measured them
        where it could run the precision."""
        own = self.manifest.get("golden_limits", {}).get(precision, {})
        least = max(self.min_agreement(precision), own.get("min_pixel_agreement", 0.0))
        return {"min_pixel_agreement": least, "min_mask_iou": own.get("min_mask_iou", 0.0)}

    def for_cpu(self, precision: str) -> str:
        """fp32-cpu for fp32 where the bundle has it: the same numbers. int8-cpu has others than int8: ask for it."""
        own = f"{precision}{_CPU}"
        return own if precision == "fp32" and own in self.manifest["models"] else precision

    def model_file(self, precision: str) -> Path:
        """The ONNX file of a precision.

        Raises:
            UserError: the bundle has no such precision, or its manifest does not vouch for the file.
        """
        models = self.manifest["models"]
        if precision not in models:
            raise UserError(
                f"{self.path}: holds no {precision} model, only {', '.join(models)}; choose one of these"
            )
        return self.vouched(models[precision])

    def vouched(self, name: str) -> Path:
        """The path of a file whose sha256 stands in the manifest (and was verified on opening)."""
        if name not in self.manifest["files"]:
            raise UserError(
                f"{self.path / MANIFEST}: names {name!r} without a sha256; export the bundle again"
            )
        return self.file(name)

    def golden(self) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
        """The golden frames: name, frame (H, W, 3) uint8 BGR, and PyTorch's mask (H, W) uint8."""
        for entry in self.manifest["golden"]:
            frame, mask = read_image(self.vouched(entry["frame"])), read_label(self.vouched(entry["mask"]))
            yield entry["name"], frame, mask

    def keep(self, name: str, result: Any) -> None:
        """Write a result beside the bundle as JSON; a bundle that may not be written to is no failure."""
        try:
            write_json(self.path / name, result)
        except UserError as error:
            print(f"not kept: {error}", file=sys.stderr)

    def ledger(self) -> list[dict[str, Any]]:
        """Every result that was kept, the oldest first: as `ParityReport.to_json` gives it, and before these what the
        run's teacher and student scored in PyTorch, which have a `role` and no verdict.

        Raises:
            UserError: the file is damaged.
        """
        file = self.path / LEDGER
        if not file.exists():
            return []
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
            _check(entries, [{"candidate": {"backend": str, "precision": str, "device": str}}])
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file}: is damaged ({error}); remove it, kd-deploy parity begins it anew"
            ) from error
        return list(entries)

    def enter(self, result: dict[str, Any]) -> None:
        """Keep a parity result: it takes the place of the one of the same backend, precision, machine and frames."""
        others = [entry for entry in self.ledger() if _subject(entry) != _subject(result)]
        self.keep(LEDGER, [*others, result])


def _subject(entry: dict[str, Any]) -> tuple[Any, ...]:
    candidate = entry["candidate"]
    own = (candidate[key] for key in ("backend", "precision", "device"))
    return *own, entry.get("golden"), entry.get("role")


def _check(value: Any, form: Any, key: str = "") -> None:
    """Raise a ValueError that names the first key of `value` that is missing or of another type than `form` says."""
    kind = type(form) if isinstance(form, (dict, list)) else form
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key} must be {_WORDS[kind]}, not {reprlib.repr(value)}")
    if isinstance(form, list):
        for number, item in enumerate(value):
            _check(item, form[0], f"{key}[{number}]")
    elif isinstance(form, dict):
        for name in value if _ANY in form else form:
            place = f"{key}.{name}" if key else name
            if name not in value:
                raise ValueError(f"{place} is missing")
            _check(value[name], form.get(name, form.get(_ANY)), place)


def _check_values(manifest: dict[str, Any]) -> None:
    """Raise a ValueError where numbers are too many, too few or out of range."""
    count, palette, size = len(manifest["classes"]), manifest["palette"], manifest["input"]["size"]
    if not 1 <= count <= IGNORE:
        raise ValueError(f"classes must be 1 to {IGNORE} names, not {count}")
    if len(palette) != count or not all(
        len(row) == 3 and 0 <= min(row) <= max(row) <= 255 for row in palette
    ):
        raise ValueError(f"palette must have red, green and blue, 0 to 255, of each of the {count} classes")
    if not manifest["golden"]:
        raise ValueError("golden must name a frame")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"input.size must be a height and a width in pixels, not {size}")
    batch = manifest["input"].get("batch", "dynamic")
    if batch != "dynamic" and (type(batch) is not int or batch < 1):
        raise ValueError(f"input.batch must be a number of frames, or dynamic, not {batch!r}")
    _check(manifest["thresholds"].get("max_boundary_drop", 0.0), _NUMBER, "thresholds.max_boundary_drop")
    if "fp32" not in manifest["thresholds"]["min_pixel_agreement"]:
        raise ValueError("thresholds.min_pixel_agreement.fp32 is missing")
