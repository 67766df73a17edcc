"""What an export refuses in one line: a place that it may not write, and a machine with too little memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from kd_deploy.runtime.backends.sessions import first_line
from kd_deploy.runtime.bundle import LEDGER, MANIFEST
from kd_deploy.runtime.engines.store import FOLDER
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import check_free, exists, is_temporary

_ADDED = (LEDGER, "parity.json", "benchmark.json", FOLDER)
"""What other commands write into a bundle."""


def check_place(path: Path, *, replace: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse a place for a bundle before the work that would go into it.

    Args:
        inputs: what the bundle is made from, which replacing must not take away.

    Raises:
        UserError: `path` is taken and `replace` is not set, it is no bundle, it holds what kd-deploy did not write or
            one of the `inputs`, or it is the current folder.
    """
    check_free(path, replace=replace)
    if not exists(path):
        return
    place = path.resolve()
    if place == Path.cwd() or place in Path.cwd().parents:
        raise UserError(
            f"{path}: the current folder lies in it; export from another one, or choose another name"
        )
    names = _files(path)
    if not names:
        raise UserError(f"{path}: is no bundle, so --force does not replace it; choose another name")
    for source in inputs:
        if place in (source.resolve(), *source.resolve().parents):
            raise UserError(f"{path}: holds {source}, which --force would remove; choose another name")
    ours = {Path(name).parts[0] for name in names} | {MANIFEST, *_ADDED}
    strangers = sorted(
        entry.name for entry in path.iterdir() if entry.name not in ours and not is_temporary(entry)
    )
    if strangers:
        raise UserError(
            f"{path}: holds what kd-deploy did not write ({', '.join(strangers[:3])}), so --force does not replace it; "
            "move that elsewhere, or choose another name"
        )


def _files(path: Path) -> list[str]:
    """The files that the manifest of a bundle names; none where it is another program's or too damaged to tell."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        ours = isinstance(manifest["schema"], int) and {"models", "golden"} <= set(manifest)
        return list(manifest["files"].keys()) if ours else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


@contextmanager
def enough_memory(size: tuple[int, int]) -> Iterator[None]:
    """Say in one line what PyTorch and ONNX Runtime say in fifty."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime has one of its own for every status, PyTorch a RuntimeError
        if not isinstance(error, MemoryError) and not re.search(r"alloc|memory", str(error), re.IGNORECASE):
            raise
        raise UserError(
            f"{size[0]}x{size[1]}: the export ran out of memory ({shorten(first_line(error), 120)}); free some, pass a "
            "smaller --size, or fewer --calibration frames"
        ) from error
