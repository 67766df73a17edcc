"""Builds in this process instead of a child of it: quick, and the fake's records can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kd_deploy.runtime.engines import make
from kd_deploy.runtime.engines.build import OutOfMemoryError, build
from kd_deploy.runtime.engines.child import ChildOutOfMemoryError
from kd_deploy.runtime.engines.request import Request


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_here(request: Request, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        workspaces: list[int] = []
        percent = (lambda value: progress(value, 100)) if progress else (lambda value: None)
        try:
            return build(request, percent, workspaces.append).to_json()
        except OutOfMemoryError as error:
            raise ChildOutOfMemoryError(str(error), workspaces[0]) from error

    monkeypatch.setattr(make, "build_in_child", build_here)
