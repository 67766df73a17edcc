"""Make the engine of a bundle's model on this machine: from the cache, or built, inspected and checked.

API-checked, not run with TensorRT; run over a fake.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd_deploy.runtime.backends.tensorrt import TensorRt
from kd_deploy.runtime.bundle import Bundle, sha256
from kd_deploy.runtime.engines.child import ChildOutOfMemoryError, build_in_child
from kd_deploy.runtime.engines.handles import key_here
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.engines.store import EngineFile, engine_path, find_built, keep
from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.errors import GateFailedError, UserError
from kd_deploy.runtime.files import atomic_file
from kd_deploy.runtime.parity import check_bundle

ATTEMPTS = 4
"""Builds that are tried, each with half the workspace of the one before and a level less."""

_USUAL_LEVEL = 3  # TensorRT's own


def build_engine(
    bundle: Bundle,
    precision: str,
    options: BuildOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    force: bool = False,
) -> EngineFile:
    """The TensorRT engine of a bundle's model for this machine; a second call finds it.

    It is built in a child process, the inspector confirms its precision, and the golden frames its masks; only then
    does it stand in the bundle's engines/. What stood there under another key is replaced, never loaded.

    Args:
        precision: one of the bundle's models.
        options: the user's choices.
        progress: called with the percentage done and 100.
        force: build it again.

    Raises:
        UserError: no such precision, a graph or an option that TensorRT refuses, or too little memory.
        MissingComponentError: TensorRT, cuda-bindings or a GPU is missing.
        GateFailedError: the engine has another precision, or its masks are not PyTorch's; it is not kept.
    """
    options = options or BuildOptions()
    key = key_here(bundle, precision, options)
    if not force and (found := find_built(bundle, key)):
        return found
    path, began = engine_path(bundle, key), time.monotonic()
    with atomic_file(path) as temporary:
        temporary.touch()  # a folder that refuses says so now and not after minutes
        model = str(bundle.model_file(precision))
        built = _build(Request(model, str(temporary), precision, bundle.size, options), progress)
        facts = {
            **built,
            "trtexec_shape": (built["batch"][1], *bundle.size, 3) if built["dynamic"] else None,
            "seconds": round(time.monotonic() - began, 1),
            "environment": environment(),
        }
        facts["golden"] = _check_golden(bundle, EngineFile(temporary, key, sha256(temporary), facts))
    return keep(path, key, facts)


def _build(request: Request, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    """Build, and where the memory does not suffice build for less."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            built = build_in_child(request, progress)
        except ChildOutOfMemoryError as error:
            if attempt == ATTEMPTS or error.workspace is None:
                raise UserError(
                    f"{error}; {attempt} builds were tried, close other programs, export a smaller --size or --batch, "
                    "or add swap"
                ) from error
            request = _smaller(request, error.workspace)
            print(
                f"{request.precision}: {error}; building again with a workspace of {request.options.workspace} MiB "
                f"at level {request.options.level}",
                file=sys.stderr,
            )
        else:
            return {**built, "level": request.options.level, "attempts": attempt}
    raise AssertionError("the last attempt returns or raises")


def _smaller(request: Request, workspace: int) -> Request:
    level = _USUAL_LEVEL if request.options.level is None else request.options.level
    options = replace(request.options, workspace=max(1, workspace // 2), level=max(0, level - 1))
    return replace(request, options=options)


def _check_golden(bundle: Bundle, engine: EngineFile) -> dict[str, Any]:
    """Run the engine on the golden frames, in the very runner that will serve it."""
    with TensorRt(bundle, engine) as model:
        report = check_bundle(bundle, model)
    if report.verdict == "fail":
        raise GateFailedError(
            f"{Path(bundle.path)}: the {engine.key.precision} engine's masks of the golden frames are not PyTorch's: "
            f"{'; '.join(report.reasons)}; the engine is not kept, choose another --precision or a newer TensorRT"
        )
    return {"pixel_agreement": report.pixel_agreement, "frames": report.frames}
