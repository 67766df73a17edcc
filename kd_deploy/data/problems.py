"""What can be wrong with a data set on disk, in one form for the readers and for `kd-deploy data check`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from kd_deploy.runtime.errors import UserError

Kind = Literal[
    "layout",
    "empty split",
    "missing mask",
    "missing frame",
    "unreadable file",
    "size mismatch",
    "unknown id",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class DataError(UserError):
    """One problem of one file or folder.

    Attributes:
        kind: what sort of problem.
        path: the file or folder.
        ids: of an unknown id's label map: each id that is no class -> its number of pixels.
    """

    def __init__(self, kind: Kind, path: Path, what: str, ids: Mapping[int, int] | None = None) -> None:
        super().__init__(f"{path}: {what}")
        self.kind, self.path, self.ids = kind, path, dict(ids or {})
