"""A manifest's sections as the recipe's own types: what somebody edited by hand is named, in one line."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from kd_deploy.runtime.bundle import MANIFEST, Bundle
from kd_deploy.runtime.errors import UserError


def read_section(bundle: Bundle, place: str, kind: Any, values: dict[str, Any]) -> Any:
    """`values`, which stand at `place` of the manifest ("source.views"), as a `kind`.

    Args:
        kind: a section of the recipe, or a union of sections.

    Raises:
        UserError: a key is unknown, missing or of another type.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (place, *first["loc"])))
        raise UserError(
            f"{bundle.path / MANIFEST}: {key}: {first['msg']}; export the bundle again"
        ) from error
