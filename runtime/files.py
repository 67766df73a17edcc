"""Write files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kd_deploy.runtime.errors import UserError


def _beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`, with the same suffix (writers go by it)."""
    return path.parent / f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, on failure it goes and `path` stays as it was.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself is the trouble
            temporary.unlink(missing_ok=True)


def check_free(path: Path, *, replace: bool) -> None:
    """Raise a UserError if `path` exists and may not be replaced."""
    if path.exists() and not replace:
        raise UserError(f"{path}: exists already; choose another name, or pass --force to replace it")


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` on success; with `replace` an old `path` goes only then.

    Raises:
        UserError: `path` exists and `replace` is not set, or the disk refuses.
    """
    check_free(path, replace=replace)
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            old = _beside(path)
            try:
                path.rename(old)
                temporary.rename(path)
            finally:  # whatever comes between the two, Ctrl-C too
                if path.exists():
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.rename(path)
        else:
            temporary.rename(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a full disk or a folder that refuses."""
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}); free space or choose another place"
    )


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
