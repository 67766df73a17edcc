"""The build in a process of its own, with the fake in there too."""

from __future__ import annotations

import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.engines.child import ChildOutOfMemoryError, build_in_child
from kd_deploy.runtime.engines.key import BuildOptions
from kd_deploy.runtime.engines.make import build_engine
from kd_deploy.runtime.engines.request import Request
from kd_deploy.runtime.errors import GateFailedError, MissingComponentError, UserError
from tests.runtime.gpu import FakeGpu


def request_for(bundle: Bundle, **options: Any) -> Request:
    engine = bundle.path / "out.engine"
    return Request(
        str(bundle.model_file("fp16")),
        str(engine),
        "fp16",
        bundle.size,
        BuildOptions(workspace=64, **options),
    )


def test_it_builds_and_reports(gpu: FakeGpu, tiny: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    gpu(strong_fails=True)
    percents: list[tuple[int, int]] = []
    built = build_in_child(request_for(tiny, batch=(1, 2, 3)), lambda *p: percents.append(p))
    assert built["batch"] == [1, 2, 3]
    assert built["layers"]["confirmed"] == 2
    assert percents[-1] == (100, 100)
    assert (tiny.path / "out.engine").stat().st_size > 100
    assert not gpu.builds  # not in this process
    out, err = capfd.readouterr()
    assert out == ""
    assert "built weakly typed with the flag FP16" in err


def test_what_lies_in_the_current_folder_is_not_run(
    gpu: FakeGpu, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    for name in ("json", "select", "signal", "numpy"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('the current folder was imported')")
    monkeypatch.chdir(tmp_path / "here")
    assert build_in_child(request_for(tiny))["layers"]["confirmed"] == 2


def test_killed_for_its_memory_it_is_tried_again(
    gpu: FakeGpu, tiny: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu(killed_above=40)
    engine = build_engine(tiny, "fp16", BuildOptions(workspace=64))
    assert (engine.facts["attempts"], engine.facts["workspace"]) == (2, 32)
    (line,) = capsys.readouterr().err.splitlines()
    assert "the build was killed, as the system does when memory runs out; building again with" in line


@pytest.mark.parametrize(
    ("scenario", "kind", "message"),
    [
        ({"memory": 10}, ChildOutOfMemoryError, "ran out of memory"),
        ({"null": True}, MissingComponentError, "^tensorrt: 10.3.0 cannot use a GPU here"),
        ({"engine_types": "FLOAT"}, GateFailedError, "asked for in fp16"),
        ({"crash": True}, UserError, r"the build crashed \(SIGABRT: "),
    ],
)
def test_what_goes_wrong_there_is_raised_here(
    gpu: FakeGpu, tiny: Bundle, scenario: dict[str, Any], kind: type[UserError], message: str
) -> None:
    gpu(**scenario)
    with pytest.raises(kind, match=message) as caught:
        build_in_child(request_for(tiny))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_an_interrupt_ends_the_child(gpu: FakeGpu, tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_deploy.runtime.engines import child

    children = []
    popen = child.subprocess.Popen
    monkeypatch.setattr(
        child.subprocess, "Popen", lambda *a, **k: children.append(popen(*a, **k)) or children[-1]
    )

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_in_child(request_for(tiny), interrupt)
    (one,) = children
    assert one.returncode is not None


def test_a_child_with_a_bug_shows_its_last_line(
    gpu: FakeGpu, tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPU", "no json")
    with pytest.raises(UserError, match=r"the build crashed \(exit code 1: json"):
        build_in_child(request_for(tiny))


def test_what_several_threads_report_stays_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_deploy.runtime.engines import child

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            time.sleep(0.001)  # another thread's turn
            return super().write(text)

    def build(request: Request, percent: Any, started: Any) -> Any:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(percent, range(20)))
        return SimpleNamespace(to_json=lambda: {"batch": request.size})

    request = Request("m.onnx", "m.engine", "fp16", (16, 24), BuildOptions())
    monkeypatch.setattr(child, "build", build)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asdict(request))))
    out = Slow()
    child._serve(out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sorted(line["percent"] for line in lines[:-1]) == list(range(20))
    assert lines[-1] == {"built": {"batch": [16, 24]}}
