"""Fill a template of this folder; every page is one file that needs nothing else."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    return environment.get_template(template).render(**values)


def _points(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
