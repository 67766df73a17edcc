"""Read a bundle: its manifest, its model files, its golden frames, all verified before use."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import exists, no_number, write_json
from kd_deploy.runtime.images import read_image, read_label
from kd_deploy.runtime.manifest import check, check_manifest

SCHEMA = 2
MANIFEST = "manifest.json"
LEDGER = "ledger.json"

_CPU = "-cpu"


def made_for_cpu(precision: str) -> bool:
    """Whether a model of this name has a graph for CPUs, which nobody should carry to a GPU."""
    return precision.endswith(_CPU)


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
    def open(cls, path: str | Path) -> Bundle:
        """Read and verify a bundle.

        Raises:
            UserError: no bundle there, one of another schema, or a file that is missing or was changed.
        """
        path = Path(path)
        file = path / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"), parse_constant=no_number)
        except OSError as error:
            raise UserError(
                f"{path}: is no bundle, {MANIFEST} cannot be read; write one with kd-deploy export"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: is damaged ({error}); export the bundle again") from error
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            found = manifest.get("schema") if isinstance(manifest, dict) else None
            raise UserError(f"{file}: schema {found!r}, this version reads {SCHEMA}; export the bundle again")
        bundle = cls(path, manifest)
        bundle._verify()
        return bundle

    def _verify(self) -> None:
        try:
            check_manifest(self.manifest)
        except ValueError as error:
            raise UserError(f"{self.path / MANIFEST}: {error}; export the bundle again") from error
        for name, expected in self.manifest["files"].items():
            file = self.file(name)
            if not (exists(file) and file.is_file()):
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
            _not_kept(error)

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
            check(entries, [{"candidate": {"backend": str, "precision": str, "device": str}}])
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file}: is damaged ({error}); remove it, kd-deploy parity begins it anew"
            ) from error
        return list(entries)

    def enter(self, result: dict[str, Any]) -> None:
        """Keep a parity result: it takes the place of the one of the same backend, precision, machine and data.

        As with `keep`, a ledger that cannot be read or written is no failure: the verdict matters more.
        """
        try:
            others = [entry for entry in self.ledger() if _subject(entry) != _subject(result)]
        except UserError as error:
            _not_kept(error)
        else:
            self.keep(LEDGER, [*others, result])


def _not_kept(error: UserError) -> None:
    print(f"not kept: {error}", file=sys.stderr)


def _subject(entry: dict[str, Any]) -> tuple[Any, ...]:
    candidate = entry["candidate"]
    own = (candidate[key] for key in ("backend", "precision", "device"))
    return *own, *(entry.get(key) for key in ("golden", "role", "data", "split"))
