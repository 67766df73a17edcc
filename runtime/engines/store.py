"""A bundle's engines/ folder: an engine beside a json that says what it is. Nothing of TensorRT.

An engine whose json is damaged, whose key does not fit, or whose sha256 is another, is as good as absent.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.engines.key import EngineKey
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import write_json
from kd_deploy.runtime.manifest import check

FOLDER = "engines"
SCHEMA = 1

_BUILT = {"seconds?": (int, float), "golden?": {"pixel_agreement?": (int, float)}}
"""What is read again of an engine's facts, where it is there."""


@dataclass(frozen=True)
class EngineFile:
    """An engine on disk.

    Attributes:
        path: the engine, without a prefix, so that trtexec and DeepStream read it.
        key: what it was built from and for.
        sha256: of the engine when its json was written.
        facts: how it was built and what was found on checking it, the json's `built`.
        cached: it was there before it was asked for.
    """

    path: Path
    key: EngineKey
    sha256: str
    facts: dict[str, Any]
    cached: bool = True

    @property
    def trtexec(self) -> str:
        """The command line that times this engine with TensorRT's own tool."""
        line = f"trtexec --loadEngine={shlex.quote(str(self.path))}"
        if (shape := self.facts.get("trtexec_shape")) is not None:
            line += f" --shapes=frame:{'x'.join(map(str, shape))}"
        return line

    def to_json(self) -> dict[str, Any]:
        """What `kd-deploy build --json` prints."""
        found = {"engine": str(self.path), "cached": self.cached, "trtexec": self.trtexec}
        return {**found, "key": self.key.to_json(), "built": self.facts}


def engine_path(bundle: Bundle, key: EngineKey) -> Path:
    """Where the engine of a key lies."""
    return bundle.path / FOLDER / f"{key.stem}.engine"


def find_built(bundle: Bundle, key: EngineKey) -> EngineFile | None:
    """The engine of exactly this key, options included."""
    found = _read(_json_of(engine_path(bundle, key)))
    return found if found and found.key == key and _intact(found) else None


def find_runnable(bundle: Bundle, here: EngineKey) -> EngineFile | None:
    """An engine that may be loaded where one built now would have the key `here`; the one built here first."""
    fitting = [engine for engine in _all(bundle) if engine.key.runs_on(here)]
    fitting.sort(key=lambda engine: engine.key.stem != here.stem)
    return next(filter(_intact, fitting), None)


def others(bundle: Bundle, precision: str) -> list[str]:
    """The place of each engine of this precision, for the line that says why none fits."""
    return [engine.key.place for engine in _all(bundle) if engine.key.precision == precision]


def keep(path: Path, key: EngineKey, facts: dict[str, Any]) -> EngineFile:
    """Write the json of the engine that now stands at `path`."""
    engine = EngineFile(path, key, sha256(path), facts, cached=False)
    value = {"schema": SCHEMA, "key": key.to_json(), "sha256": engine.sha256, "built": facts}
    write_json(_json_of(path), value)
    return engine


def _json_of(engine: Path) -> Path:
    return engine.with_suffix(".json")


def _all(bundle: Bundle) -> Iterator[EngineFile]:
    for file in sorted((bundle.path / FOLDER).glob("*.json")):
        if engine := _read(file):
            yield engine


def _read(file: Path) -> EngineFile | None:
    with suppress(OSError, KeyError, TypeError, ValueError, RecursionError, UserError):
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["schema"] == SCHEMA:
            check(value["built"], _BUILT)
            if value["built"].get("trtexec_shape") is not None:
                check(value["built"]["trtexec_shape"], [int])
            key, facts = EngineKey.from_json(value["key"]), dict(value["built"])
            return EngineFile(file.with_suffix(".engine"), key, str(value["sha256"]), facts)
    return None


def _intact(engine: EngineFile) -> bool:
    """The engine is the one whose json this is: TensorRT runs code from it, so nothing else is loaded."""
    return engine.path.is_file() and sha256(engine.path) == engine.sha256
