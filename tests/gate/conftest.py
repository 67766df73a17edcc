"""A student that was really trained, and its bundle; what deploys it wrongly is shared with benchmarks/gate.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from gate import Student


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Read only."""
    return Student.train(tmp_path_factory.mktemp("gate"))
