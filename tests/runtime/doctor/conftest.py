"""Libraries that are not here, or are worse than not here, for a check's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kd_deploy.runtime.doctor.checks import CHECKS, Check
from kd_deploy.runtime.doctor.finding import Finding
from kd_deploy.runtime.doctor.isolation import run_checks


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a module of this code before all others of its name; check processes take over sys.path."""
    monkeypatch.syspath_prepend(tmp_path / "shims")

    def write(name: str, code: str) -> None:
        package = tmp_path / "shims" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(code)

    return write


@pytest.fixture
def check() -> Callable[[str], Finding]:
    """What a component's check finds, in a process of its own."""

    def run(name: str) -> Finding:
        (finding,) = run_checks([check for check in CHECKS if check.name == name])
        return finding

    return run


@pytest.fixture
def odd(shim: Callable[[str, str], None]) -> Callable[..., Check]:
    """A check that does what this code says, as the body of a function."""

    def make(body: str, name: str = "odd", timeout: float = 30) -> Check:
        shim(name, f"import json, os, signal, subprocess, sys, time\ndef run():\n    {body}\n")
        return Check(name, f"{name}:run", "nothing", timeout)

    return make
