"""The examples run: the library's on a bundle, the unit in systemd's own checker, its commands in ours."""

from __future__ import annotations

import configparser
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import pytest

from kd_deploy.runtime.video.source import parse_source
from tests.conftest import Deployed, draw
from tests.package.test_documents import commands, parse

EXAMPLES = Path(__file__).parents[2] / "examples"
LIBRARY = {"image.py": "street.png overlay.png", "preallocated.py": ".", "threads.py": ". masks"}
"""Program -> what follows the bundle on its command line."""
UNIT = EXAMPLES / "jetson" / "kd-deploy.service"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with street.png and four more."""
    monkeypatch.chdir(tmp_path)
    for name in ("street", "1", "2", "3", "4"):
        cv2.imwrite(f"{name}.png", draw(len(name), (72, 100))[0])
    return tmp_path


def start(program: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    runpy.run_path(str(EXAMPLES / "library" / program), run_name="__main__")


def test_every_example_is_tried() -> None:
    assert {file.name for file in (EXAMPLES / "library").iterdir() if file.suffix == ".py"} == set(LIBRARY)


@pytest.mark.parametrize("program", LIBRARY)
def test_library(
    program: str,
    deeplab: Deployed,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start(program, monkeypatch, str(deeplab.bundle), *LIBRARY[program].split())
    said = capsys.readouterr().out
    if program == "image.py":
        assert cv2.imread("overlay.png").shape[1] == 100
        assert sum(float(line.split()[-2]) for line in said.splitlines()) == pytest.approx(100, abs=1)
    elif program == "preallocated.py":
        assert [line.split()[0] for line in said.splitlines()] == ["4", "1"]
    else:
        assert said.startswith("5 masks by ")
        assert len(list((pictures / "masks").iterdir())) == 5


@pytest.mark.parametrize("program", LIBRARY)
def test_library_says_what_is_wrong(program: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no_bundle: is no bundle"):
        start(program, monkeypatch, "no_bundle", *LIBRARY[program].split())


def test_the_librarys_page_runs(deeplab: Deployed, pictures: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"((?:^    .*\n|^\n)+)", page, re.MULTILINE)
    programs = [textwrap.dedent(block) for block in blocks if "import" in block]
    assert len(programs) == 2
    for program in programs:
        names: dict[str, object] = {}
        exec(
            program.replace('"bundle"', repr(str(deeplab.bundle))).replace("street.jpg", "street.png"), names
        )
        assert {"mask", "masks"} & set(names)


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8").replace("\\\n", " "))
    return parser


def script(unit: configparser.RawConfigParser) -> str:
    """What systemd hands to the shell."""
    program, option, text = shlex.split(unit["Service"]["ExecStart"])
    assert (program, option) == ("/bin/sh", "-c")
    return text.replace("$$", "$").replace("%%", "%")


def test_the_units_commands_parse(
    unit: configparser.RawConfigParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: True)
    for line in script(unit).split("&&"):
        words = shlex.split(line.replace("exec ", ""))
        assert words[0] == "/opt/kd-deploy/venv/bin/kd-deploy"
        parse(words[1:])
    assert parse_source(words[3]).kind == "pipeline"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /bin/sh")
@pytest.mark.parametrize(("gate", "frames"), [(4, 0), (0, 0), (0, 1)])
def test_the_units_gate_and_camera_end_as_systemd_is_told(
    unit: configparser.RawConfigParser, tmp_path: Path, gate: int, frames: int
) -> None:
    """With a program that notes its arguments and ends with the code that is asked for."""
    program = tmp_path / "kd-deploy"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/$1\n[ "$1" = parity ] && exit {gate}\nexit {frames}\n'
    )
    program.chmod(0o755)
    text = script(unit).replace("/opt/kd-deploy/venv/bin/kd-deploy", str(program))
    done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (gate or frames, "")
    assert (tmp_path / "infer").exists() == (gate == 0)
    if gate == 0:
        words = (tmp_path / "infer").read_text().splitlines()
        assert words[2].startswith("nvarguscamerasrc sensor-id=0 ! ")
        assert re.fullmatch(r"street-\d{8}-\d{6}\.mp4", words[words.index("-o") + 1])
    assert "ExecStartPre" not in unit["Service"]  # RestartPreventExitStatus does not look at it
    assert unit["Service"]["Restart"] == "always"
    assert str(gate) in unit["Service"]["RestartPreventExitStatus"].split() or gate == 0


def test_the_unit_keeps_the_gpu_and_the_camera(unit: configparser.RawConfigParser) -> None:
    """The hardening that hides /dev/nv* or the camera daemon's socket, or stops CUDA's compiler."""
    assert not {
        "PrivateDevices",
        "ProtectClock",
        "PrivateTmp",
        "MemoryDenyWriteExecute",
        "DevicePolicy",
    } & set(unit["Service"])
    assert unit["Service"]["KillSignal"] == "SIGINT"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    program = shutil.which("true") or ""
    text = UNIT.read_text(encoding="utf-8").replace("/opt/kd-deploy/venv/bin/kd-deploy", program)
    (tmp_path / "kd-deploy.service").write_text(text, encoding="utf-8")
    line = ["systemd-analyze", "verify", str(tmp_path / "kd-deploy.service")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_containers_commands_parse() -> None:
    text = (EXAMPLES / "jetson" / "Containerfile").read_text(encoding="utf-8")
    runs = [
        line.partition("/bundle kd-deploy ")[2].split() for line in text.splitlines() if "docker run" in line
    ]
    assert len(runs) == 2
    for run in [*runs, ["doctor"]]:
        parse(run)


def test_the_jetson_page_has_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_deploy.runtime.video.source.has_gstreamer", lambda: True)
    page = EXAMPLES.parent / "docs" / "jetson.md"
    sources = [words[2] for words in commands(page) if words[0] == "infer"]
    kinds = [parse_source(source).kind for source in sources]
    assert kinds.count("pipeline") >= 2
