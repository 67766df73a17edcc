"""Fill a template of this folder; every page is one file that needs nothing else."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file

GENERATOR = '<meta name="generator" content="kd-deploy">'
"""Stands in the head of every page, so that a page may take an older one's place."""


def render(template: str, **values: Any) -> str:
    """The page as HTML; values are escaped unless they are markup."""
    environment = Environment(
        loader=PackageLoader("kd_deploy", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = _points
    environment.filters["quoted"] = lambda path: shlex.quote(str(path))
    return environment.get_template(template).render(generator=GENERATOR, **values)


def check_replaceable(path: Path) -> None:
    """Raise a UserError where `path` holds something else than a page of ours, before the work is done."""
    if not path.exists():
        return
    if not path.is_file() or GENERATOR.encode() not in path.read_bytes()[:2000]:
        raise UserError(f"{path}: exists and is no report of kd-deploy; name another file with -o")


def write_page(path: Path, html: str) -> Path:
    """Write the page, in the place of an older one, and return its path.

    Raises:
        UserError: something else stands there, or the disk refuses.
    """
    check_replaceable(path)
    with atomic_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _points(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"
