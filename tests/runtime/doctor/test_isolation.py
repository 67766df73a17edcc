"""A check that crashes, hangs or says nothing costs its own finding and no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kd_deploy.runtime.doctor.checks import Check
from kd_deploy.runtime.doctor.finding import BROKEN, WORKS, Finding
from kd_deploy.runtime.doctor.isolation import run_checks

Odd = Callable[..., Check]
ANSWER = "from kd_deploy.runtime.doctor.finding import Finding; "


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed: SIGSEGV"),
        ("print('bad plugin', file=sys.stderr); os.abort()", "crashed: SIGABRT (bad plugin)"),
        ("os._exit(7)", "crashed: exit code 7"),
        ("os._exit(0)", "ended without an answer"),
        ("raise OSError('no such device')", "crashed: exit code 1 (OSError: no such device)"),
        ("import no_such_module_at_all", "needs no_such_module_at_all, which is not installed"),
    ],
)
def test_how_a_check_can_die(odd: Odd, body: str, reason: str) -> None:
    (finding,) = run_checks([odd(body)])
    assert (finding.name, finding.state, finding.reason) == ("odd", BROKEN, reason)


def test_a_check_that_crashes_once_its_work_is_done(odd: Odd) -> None:
    body = ANSWER + "import atexit; atexit.register(os.kill, os.getpid(), signal.SIGSEGV); "
    (finding,) = run_checks([odd(body + "return Finding('odd', 'works', '1.0')")])
    assert (finding.state, finding.version) == (BROKEN, "1.0")
    assert finding.reason == "crashed on its end: SIGSEGV"


def test_a_check_that_hangs_ends_with_its_own_children(odd: Odd, tmp_path: Path) -> None:
    body = (
        "child = subprocess.Popen(['sleep', '600']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); child.wait()"
    )
    (finding,) = run_checks([odd(body, timeout=2)])
    assert (finding.state, finding.reason) == (BROKEN, "hangs: no answer in 2 s")
    assert ended(int((tmp_path / "pid").read_text()))


def test_ctrl_c_leaves_no_check_behind(odd: Odd, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    slow = odd(f"open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)", "slow")
    quick = odd(
        f"\n    while not (os.path.exists({str(file)!r})): time.sleep(0.01)\n    os._exit(1)", "quick"
    )

    def interrupt(done: int, name: str) -> None:
        assert (done, name) == (1, "quick")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks([slow, quick], interrupt)
    assert ended(int(file.read_text()))


def test_what_a_library_prints_is_not_an_answer(odd: Odd) -> None:
    body = ANSWER + "print('{}'); os.system('echo noise'); return Finding('x', 'works', '2', facts={'a': 1})"
    (finding,) = run_checks([odd(body)])
    assert finding == Finding("odd", WORKS, "2", facts={"a": 1})


def test_what_the_loader_says_on_stderr_becomes_the_reason(odd: Odd) -> None:
    said = "with error: libcublasLt.so.13: cannot open shared object file: No such file or directory"
    body = f"{ANSWER}os.system('echo {said} >&2'); return Finding('x', 'broken', reason='graph nodes')"
    (finding,) = run_checks([odd(body)])
    assert finding.lacks == "libcublasLt.so.13"
    assert finding.reason == said.removeprefix("with error: ")


def test_findings_come_in_the_order_of_the_checks(odd: Odd) -> None:
    checks = [odd("os._exit(1)", name, timeout) for name, timeout in (("a", 10), ("b", 30), ("c", 20))]
    told: list[int] = []
    findings = run_checks(checks, lambda done, name: told.append(done))
    assert [finding.name for finding in findings] == ["a", "b", "c"]
    assert told == [1, 2, 3]


def ended(process: int) -> bool:
    """Whether a process is gone, or is a zombie that nobody has buried yet."""
    for _ in range(200):
        try:
            os.kill(process, 0)
            status = Path(f"/proc/{process}/stat")
            if status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False
