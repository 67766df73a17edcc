"""Every check in a process of its own: a library that crashes or hangs takes nobody along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO

from kd_deploy.runtime.doctor.checks import Check
from kd_deploy.runtime.doctor.finding import BROKEN, WORKS, Finding, loader_line, missing_library, one_line
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.python import module_command, module_environment

_PAUSE = 0.02  # seconds


def run_checks(
    checks: Sequence[Check], told: Callable[[int, str], None] = lambda done, name: None
) -> list[Finding]:
    """Run the checks, as many at once as there are cores.

    Args:
        told: called with the number of checks that are done and the name of the last.

    Returns:
        A finding of each, in order.
    """
    findings: dict[str, Finding] = {}
    waiting = sorted(checks, key=lambda check: -check.timeout)  # those that may take longest begin
    running: list[_Child] = []
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < max(2, cores()):
                running.append(stack.enter_context(_started(waiting.pop(0))))
            time.sleep(_PAUSE)
            for child in [child for child in running if child.ended()]:
                running.remove(child)
                findings[child.check.name] = child.finding()
                told(len(findings), child.check.name)
    return [findings[check.name] for check in checks]


@contextmanager
def _started(check: Check) -> Iterator[_Child]:
    """A check under way; it ends with the context, on Ctrl-C too."""
    # Files, not pipes: what a child of the child leaves open then keeps nobody waiting.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            module_command("kd_deploy.runtime.doctor", check.target),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=module_environment(),
            start_new_session=True,
        )
        child = _Child(check, process, out, err, time.monotonic() + check.timeout)
        try:
            yield child
        finally:
            child.kill()


@dataclass
class _Child:
    """A process that runs one check; `out` and `err` are what it writes to."""

    check: Check
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    deadline: float

    def ended(self) -> bool:
        return self.process.poll() is not None or time.monotonic() > self.deadline

    def finding(self) -> Finding:
        """What the check found, or how it died."""
        name, code = self.check.name, self.process.poll()
        self.kill()
        said, errors = _text(self.out), _text(self.err)
        answer: Finding | None = None
        with suppress(ValueError, TypeError):  # it said nothing, or half of it
            answer = Finding(**{**json.loads(said), "name": name})
        if code is None:
            return Finding(name, BROKEN, reason=f"hangs: no answer in {self.check.timeout:g} s")
        if code:
            reason = f"{'crashed on its end' if answer else 'crashed'}: {_how(code)}{_last(errors)}"
            return replace(answer or Finding(name, BROKEN), state=BROKEN, reason=reason)
        if answer is None:
            return Finding(name, BROKEN, reason=f"ended without an answer{_last(errors)}")
        if answer.state != WORKS and not answer.lacks and (line := loader_line(errors)):
            return replace(answer, reason=line, lacks=missing_library(line))
        return answer

    def kill(self) -> None:
        """End the child, and on POSIX its own children."""
        if self.process.poll() is None:
            with suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    self.process.kill()
            with suppress(subprocess.TimeoutExpired):  # one that waits in a driver cannot be ended
                self.process.wait(timeout=2)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _how(code: int) -> str:
    """A signal's name; Windows has none, its codes are read in hexadecimal."""
    if code >= 0:
        return f"exit code {code if code < 256 else hex(code)}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _last(errors: str) -> str:
    """The last line that it left on stderr."""
    lines = [line for line in errors.splitlines() if line.strip()]
    return f" ({one_line(lines[-1])})" if lines else ""
