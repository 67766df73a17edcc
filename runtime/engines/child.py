"""Build in a child process: one that runs out of memory, or is killed for it, takes nobody along.

The parent writes a request as JSON to kd_deploy.runtime.engines.child; the child answers in lines of JSON.
API-checked, not run with TensorRT; run over a fake.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from kd_deploy.runtime.engines.build import OutOfMemoryError, build
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.errors import GateFailedError, MissingComponentError, UserError
from kd_deploy.runtime.python import module_command, module_environment

_KILLED = -9  # SIGKILL, as the system's out-of-memory killer sends it
_FAILURES = {
    kind.__name__: kind for kind in (UserError, OutOfMemoryError, GateFailedError, MissingComponentError)
}


class ChildOutOfMemoryError(OutOfMemoryError):
    """The child ran out of memory.

    Attributes:
        workspace: MiB that it had, None where it did not come that far.
    """

    def __init__(self, message: str, workspace: int | None) -> None:
        super().__init__(message)
        self.workspace = workspace


def build_in_child(request: Request, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Build an engine in a child process.

    Args:
        progress: called with the percentage done and 100.

    Returns:
        `Built` as JSON.

    Raises:
        ChildOutOfMemoryError: TensorRT ran out of memory, or the system killed the child.
        UserError: as `build`, or the child crashed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        with subprocess.Popen(
            module_command("kd_deploy.runtime.engines.child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env=module_environment(),
        ) as child:
            try:
                answer = _talk(child, json.dumps(asdict(request)), progress)
            finally:  # Ctrl-C too: TensorRT does not listen to it
                child.kill()
        log.seek(0)
        said = log.read().splitlines()
    if "built" in answer:
        for line in said:
            print(line, file=sys.stderr)
        return dict(answer["built"])
    raise _failure(answer, answer["code"], said, request)


def _talk(
    child: subprocess.Popen[str], request: str, progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    """Send the request and listen until the child falls silent; everything it said by key, and its exit code."""
    assert child.stdin is not None
    assert child.stdout is not None
    said: dict[str, Any] = {}
    with suppress(BrokenPipeError), child.stdin:  # it died at once; its exit code says how
        child.stdin.write(request)
    for line in child.stdout:
        with suppress(ValueError, TypeError):  # half a line of one that was killed, or a library's
            said.update(json.loads(line))
        if progress and "percent" in said:
            progress(said.pop("percent"), 100)
    return {**said, "code": child.wait()}


def _failure(answer: dict[str, Any], code: int, said: list[str], request: Request) -> Exception:
    kind, message = answer.get("failure", ("", ""))
    workspace = answer.get("workspace")
    if code == _KILLED:
        kind = OutOfMemoryError.__name__
        message = f"{request.onnx}: the build was killed, as the system does when memory runs out"
    if kind == OutOfMemoryError.__name__:
        return ChildOutOfMemoryError(message, workspace)
    if kind:
        return _FAILURES[kind](message)
    last = said[-1].strip() if said else "it left no message"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return UserError(
        f"{request.onnx}: the build crashed ({how}: {last}); try another --level or --precision, or a newer TensorRT"
    )


# The child's side


def _read_request(text: str) -> Request:
    value = json.loads(text)
    options = value["options"]
    batch = options["batch"] and tuple(options["batch"])
    options = BuildOptions(**{**options, "batch": batch})
    return Request(**{**value, "size": tuple(value["size"]), "options": options})


def _serve(out: IO[str]) -> None:
    lock = threading.Lock()  # the builder's threads report too, and the parent reads whole lines

    def say(**what: Any) -> None:
        with lock:
            print(json.dumps(what), file=out, flush=True)

    try:
        built = build(
            _read_request(sys.stdin.read()),
            percent=lambda percent: say(percent=percent),
            started=lambda workspace: say(workspace=workspace),
        )
        say(built=built.to_json())
    except UserError as error:
        say(failure=(type(error).__name__, str(error)))
    except MemoryError:
        say(failure=(OutOfMemoryError.__name__, "the system has no more memory"))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which gets the same Ctrl-C, ends this process
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is not ours
    _serve(answers)
