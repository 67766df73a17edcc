"""What surrounds the process: closed streams, a reader that goes, another locale, no home, a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.runtime.images import read_label
from kd_deploy.runtime.model import Model
from kd_deploy.runtime.segment import segment
from kd_deploy.runtime.video import read_video
from tests.malformed.cases import STREET, encode
from tests.malformed.test_videos import clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the streams")

ROOT = Path(__file__).parents[2]
NAME = "日本"
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def command(bundle: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "kd_deploy", "infer", str(bundle), *arguments]


def shell(line: str, words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run words as `"$@"` of a shell's line, in a folder."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        ["sh", "-c", line, "sh", *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / f"{NAME}.png").write_bytes(encode(".png"))
    clip("a.mp4", 3)(tmp_path).rename(tmp_path / f"{NAME}.mp4")
    return tmp_path


IMAGE = (f"{NAME}.png", "-o", "out.png", "--mask")
VIDEO = (f"{NAME}.mp4", "-o", "out.mp4")

DONE: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "stdin-closed": ('"$@" <&-', IMAGE, {}),
    "stdout-closed": ('"$@" --json >&-', IMAGE, {}),
    "stderr-closed": ('"$@" 2>&-', VIDEO, {}),
    "all-streams-closed": ('"$@" <&- >&- 2>&-', IMAGE, {}),
    "all-streams-closed-for-a-video": ('"$@" <&- >&- 2>&-', VIDEO, {}),
    "reader-of-ten-bytes": ('"$@" --json | head -c 10 >head', IMAGE, {}),
    "no-home": ('env -u HOME "$@"', IMAGE, {}),
    "ascii-locale": ('"$@"', IMAGE, ASCII),
    "ascii-locale-for-a-video": ('"$@"', VIDEO, ASCII),
    "working-directory-that-is-gone": (
        'mkdir gone && cd gone && rmdir ../gone && "$@"',
        ("../a.png", "-o", "../out.png"),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "arguments", "environment"), DONE.values(), ids=DONE)
def test_done(line: str, arguments: Any, environment: Any, folder: Path, deeplab: Any, model: Model) -> None:
    (folder / "a.png").write_bytes(encode(".png"))
    done = shell(line, command(deeplab.bundle, *arguments), folder, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    if "--mask" in arguments:
        assert (read_label(folder / "out.png") == segment(model, STREET)).all()
    elif "out.mp4" in arguments:
        with read_video(folder / "out.mp4") as written:
            assert len(list(written)) == 3
    assert not list(folder.glob(".out*"))


def test_stdout_on_a_full_disk(folder: Path, deeplab: Any) -> None:
    done = shell('"$@" >/dev/full', command(deeplab.bundle, *IMAGE), folder)
    assert done.returncode == 1
    assert done.stderr == "error: stdout: cannot be written (No space left on device); free space\n"


def test_a_reader_that_is_gone(folder: Path, deeplab: Any) -> None:
    """Exit 1, as click has it, without a word; the output is complete."""
    reader, writer = os.pipe()
    os.close(reader)
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = command(deeplab.bundle, *IMAGE, "--json")
    done = subprocess.run(words, cwd=folder, env=variables, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
    assert read_label(folder / "out.png").shape == (40, 60)


def test_the_error_where_stderr_is_closed(folder: Path, deeplab: Any) -> None:
    done = shell('"$@" 2>&-', command(deeplab.bundle, "gone.png", "-o", "out.png"), folder)
    assert (done.returncode, done.stdout) == (1, "")


def test_json_is_json_in_every_locale(folder: Path, deeplab: Any) -> None:
    done = shell(
        '"$@" --json', command(deeplab.bundle, *IMAGE), folder, PYTHONIOENCODING="utf-8:strict", **ASCII
    )
    assert done.returncode == 0
    assert os.fsencode(json.loads(done.stdout)["source"]) == os.fsencode(f"{NAME}.png")


def test_ctrl_c_while_it_starts(folder: Path, deeplab: Any) -> None:
    """A signal that comes before there is anything to finish: 130, one word, nothing left."""
    source = "import signal\nfrom kd_deploy.cli import main\nimport kd_deploy.runtime.bundle as bundle\n"
    source += "bundle.sha256 = lambda path: signal.raise_signal(signal.SIGINT)\nmain()"
    words = [sys.executable, "-c", source, *command(deeplab.bundle, *VIDEO)[3:]]
    done = shell('"$@"', words, folder)
    assert (done.returncode, done.stdout, done.stderr.split()) == (130, "", ["interrupted"])
    assert not list(folder.glob("*out*"))


def test_a_killed_process_leaves_nothing_under_the_final_name(folder: Path, deeplab: Any) -> None:
    """SIGKILL, after which nobody can clean up: a hidden temporary file may stay, half a video may not."""
    source = (
        "import os, signal\nfrom kd_deploy.cli import main\nimport kd_deploy.runtime.video.writer as writer\n"
    )
    source += "writer.VideoWriter._verify = lambda self: os.kill(os.getpid(), signal.SIGKILL)\nmain()"
    words = [sys.executable, "-c", source, *command(deeplab.bundle, *VIDEO)[3:]]
    done = shell('"$@"', words, folder)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert not (folder / "out.mp4").exists()
