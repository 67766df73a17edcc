"""What a check found out about one component, and how a loader's words are read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

WORKS, FOUND, MISSING, BROKEN = "works", "found", "missing", "broken"
"""It did its work here; it is there and was not tried, or what it runs on is not here; it is not installed; it is
installed and does not do its work."""

_LIBRARY = (
    re.compile(r"([\w.+-]+\.so[.\d]*): cannot open shared object file"),  # glibc
    re.compile(r"Error loading shared library ([\w.+-]+\.so[.\d]*)"),  # musl
    re.compile(r"Library not loaded: \S*?([\w.+-]+\.dylib)"),  # macOS
    re.compile(r"Could not find module '[^']*?([\w.+-]+\.dll)'", re.IGNORECASE),  # ctypes on Windows
    re.compile(
        r"error 126.{0,80}?trying to load \"[^\"]*?([\w.+-]+\.dll)\"", re.IGNORECASE
    ),  # ONNX Runtime there
)
"""How loaders say that a library is not there; on Windows they name the one that wanted it."""

_COLOUR = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True)
class Finding:
    """One component.

    Attributes:
        name: of the component.
        state: WORKS, FOUND, MISSING or BROKEN.
        version: None where it is not known.
        detail: what else there is to know, such as a GPU's name.
        reason: why it does not work, in the words of what refused, one line.
        lacks: the shared library that a loader did not find.
        facts: what other checks compare with, such as the CUDA version.
    """

    name: str
    state: str
    version: str | None = None
    detail: str = ""
    reason: str = ""
    lacks: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ill(self) -> bool:
        """Whether something must be done before it does its work."""
        return bool(self.reason) or self.state in (MISSING, BROKEN)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def without(name: str, error: ImportError) -> Finding:
    """A component that cannot do without another module, which is not installed or cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        reason = f"needs {error.name}, which is not installed"
        return Finding(name, BROKEN, reason=reason, facts={"needs": error.name})
    return Finding(name, BROKEN, reason=one_line(error), lacks=missing_library(str(error)))


def missing_library(text: str) -> str | None:
    """The first shared library that `text`, a loader's or an exception's, says cannot be found."""
    hit = _first_hit(text)
    return hit[1] if hit else None


def _first_hit(text: str) -> re.Match[str] | None:
    hits = [match for pattern in _LIBRARY if (match := pattern.search(text))]
    return min(hits, key=lambda match: match.start(), default=None)


def loader_line(text: str) -> str:
    """What a loader says that it did not find, the last time that it says so; empty where it does not."""
    for line in reversed(_COLOUR.sub("", text).splitlines()):
        if hit := _first_hit(line):
            return line[hit.start() :].strip()
    return ""


def one_line(error: BaseException | str) -> str:
    """The first line of an error that says something, else its type."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    return next(filter(None, lines), type(error).__name__)
