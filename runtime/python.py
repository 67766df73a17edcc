"""Another Python process that runs a module of this package, with the packages of this one."""

from __future__ import annotations

import os
import sys

_RUN = (
    "import sys; sys.path = [place for place in sys.path if place]; "
    "import runpy; runpy.run_module({!r}, None, '__main__')"
)
"""Without the current folder, which `python -m` puts first: a json.py in it would be run in the place of Python's."""


def module_command(name: str, *arguments: str) -> list[str]:
    """The command that runs a module as `python -m` does, whatever lies in the current folder."""
    return [sys.executable, "-c", _RUN.format(name), *arguments]


def module_environment() -> dict[str, str]:
    """This process's environment, from which the other one takes its packages too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
