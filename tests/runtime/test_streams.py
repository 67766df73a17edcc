"""Streams that are closed or must be silent, each in a process of its own: descriptors belong to all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the streams")


def result(script: str, folder: Path, closed: str = "") -> tuple[str, str]:
    """What a script leaves in `result`, and what it says on stderr."""
    source = (
        f"import os\nfrom kd_deploy.runtime.streams import *\n{script}\nopen('result', 'w').write(result)\n"
    )
    words = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", source]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return (folder / "result").read_text(), done.stderr


def test_words_on_stderr_are_taken_and_the_next_ones_are_not(tmp_path: Path) -> None:
    script = "with stderr_words() as words: os.write(2, b'one')\nresult, = words\nos.write(2, b'two')"
    assert result(script, tmp_path) == ("one", "two")


def test_more_words_than_a_pipe_holds_do_not_wait(tmp_path: Path) -> None:
    script = """
with stderr_words() as words:
    os.write(2, b'x' * 65536)
    try: os.write(2, b'y')
    except BlockingIOError: pass
result, = words"""
    assert result(script, tmp_path) == ("x" * 65536, "")


def test_an_error_in_the_block_gives_stderr_back(tmp_path: Path) -> None:
    script = """
try:
    with no_stderr(): os.write(2, b'one'); raise OSError
except OSError as error: result = repr(error); os.write(2, b'two')"""
    assert result(script, tmp_path) == ("OSError()", "two")


def test_without_stderr_the_words_are_taken_and_it_stays_closed(tmp_path: Path) -> None:
    script = """
result = ''
for _ in range(2):
    with stderr_words() as words: os.write(2, b'one')
    try: os.write(2, b'two')
    except OSError as error: result += f'{words} {error.errno} '"""
    assert result(script, tmp_path, "2>&-") == ("['one'] 9 ['one'] 9 ", "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    script = """
open_closed_streams()
with open('next', 'w') as file: result = str(file.fileno() > 2)
os.write(1, b'nowhere'); os.system('echo nowhere; echo nowhere >&2; cat')"""
    assert result(script, tmp_path, f"2>&- {closed}") == ("True", "")


def test_streams_that_are_open_stay(tmp_path: Path) -> None:
    assert result("open_closed_streams(); os.write(2, b'here'); result = ''", tmp_path) == ("", "here")
