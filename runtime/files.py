"""Write files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kd_deploy.runtime.errors import UserError

_STEM = 40
"""Characters of a name that its temporary one begins with: file systems take 255 bytes in all."""


def _beside(path: Path) -> Path:
    """A new hidden name in the folder of `path`, with the same suffix (writers go by it), no longer than may be."""
    return path.parent / f".{path.stem[:_STEM]}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}"


_TEMPORARY = f".*.{'[0-9a-f]' * 8}.tmp*"


def is_temporary(path: Path) -> bool:
    """Whether `path` has a name that only a file or folder in the making has."""
    return path.match(_TEMPORARY)


def remove_temporaries(folder: Path, *, older_than: float = 0.0) -> None:
    """Remove the temporary files that killed writers left in `folder`.

    Args:
        older_than: seconds since they were written last, where another writer may be at work.
    """
    for path in folder.glob(_TEMPORARY):
        with suppress(OSError):  # gone meanwhile, or a folder
            if time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


def exists(path: str | Path) -> bool:
    """Whether something lies there; False for a name too long and a folder that may not be looked into.

    `Path.exists` raises there before Python 3.14.
    """
    return os.path.exists(path)  # noqa: PTH110


@contextmanager
def atomic_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, on failure it goes and all is as it was.

    Folders on the way to `path` that are missing are made.

    Args:
        durable: a power cut leaves the old file or the new one, too; some milliseconds for a small file.

    Raises:
        UserError: `path` is a folder, its own folder cannot be written, or the disk is full.
    """
    if exists(path) and path.is_dir():
        raise cannot_write(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    temporary = _beside(path)
    new_folders = [folder for folder in path.parents if not exists(folder)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself is the trouble
            temporary.unlink(missing_ok=True)
        for folder in new_folders:
            with suppress(OSError):  # holds what was written
                folder.rmdir()


def is_taken(path: Path) -> bool:
    """Whether something lies there, a link that leads nowhere too.

    Raises:
        UserError: its folder cannot be looked into, or the name is too long: nothing could be written there.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    return True


def check_free(path: Path, *, replace: bool) -> None:
    """Raise a UserError if `path` exists and may not be replaced, or cannot be written at all."""
    if is_taken(path) and not replace:
        raise UserError(f"{path}: exists already; choose another name, or pass --force to replace it")


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` on success; with `replace` an old `path` goes only then.

    Through a link its target is written. Folders on the way that are missing are made, and go again on failure.

    Raises:
        UserError: `path` exists, at the end too, and `replace` is not set, or the disk refuses.
    """
    check_free(path, replace=replace)
    place = Path(os.path.realpath(path))
    temporary = _beside(place)
    new_folders = [folder for folder in place.parents if not exists(folder)]
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check_free(path, replace=replace)  # it may have come meanwhile
        if place.exists():
            _exchange(place, temporary)
        else:
            temporary.rename(place)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in new_folders:
            with suppress(OSError):  # holds what was written
                folder.rmdir()


def _exchange(path: Path, new: Path) -> None:
    """Put the folder `new` in the place of `path`, which stays as it was where that fails."""
    old = _beside(path)
    try:
        path.rename(old)
        new.rename(path)
    finally:  # whatever comes between the two, Ctrl-C too
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The one line for a full disk or a folder that refuses."""
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}); free space or choose another place"
    )


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write `value` as indented UTF-8 JSON, atomically; `durable` as in `atomic_file`."""
    with atomic_file(path, durable=durable) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def no_number(text: str) -> None:
    """For json's `parse_constant`: NaN and Infinity are refused; a limit that is one of them would stop nothing.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{text} is no number")
