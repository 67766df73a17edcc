"""What the documents say: every command parses, every link leads somewhere, the README's Python runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import kd_deploy.runtime
from kd_deploy.cli import cli
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def commands(document: Path) -> Iterator[list[str]]:
    """The words behind each `kd-deploy` in indented lines, continued lines joined, NAME="..." put in for $NAME."""
    text = re.sub(r"\\\n *", "", document.read_text(encoding="utf-8"))
    for name, value in re.findall(r'^    ([A-Z]+)="(.*)"$', text, re.MULTILINE):
        text = text.replace(f"${name}", value)
    for line in re.findall(r"^    (?:\$ )?(.*kd-deploy .*)$", text, re.MULTILINE):
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words[:1] == ["kd-deploy"]:
                yield words[1:]


def parse(words: list[str]) -> None:
    group: click.Command = cli
    context = click.Context(cli)
    while isinstance(group, click.Group):
        name, found, words = group.resolve_command(context, words)
        assert found is not None, name
        group = found
    group.make_context(group.name, words, parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_parse(document: Path) -> None:
    for words in commands(document):
        if "--help" not in words:
            parse(words)


def test_the_readme_shows_commands() -> None:
    names = {words[0] for words in commands(ROOT / "README.md")}
    assert {
        "demo",
        "recipes",
        "data",
        "train",
        "distill",
        "evaluate",
        "compare",
        "report",
        "export",
        "parity",
        "benchmark",
        "infer",
        "doctor",
    } == names
    with pytest.raises(click.NoSuchOption):
        parse(["export", "run", "-o", "bundle", "--no-such-option"])


def test_the_library_page_names_every_error_of_the_library() -> None:
    table = (ROOT / "docs" / "library.md").read_text(encoding="utf-8").partition("## Errors")[2]
    known = {name for name in kd_deploy.runtime.__all__ if name.endswith("Error")}
    assert set(re.findall(r"\b\w+Error\b", table)) == known
    assert all(issubclass(getattr(kd_deploy.runtime, name), UserError) for name in known)
    assert kd_deploy.runtime.CannotRunError.exit_code == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / target).exists(), target


def test_the_readmes_python_runs(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(
        r"## In Python\n\n((?:    .*\n|\n)+)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    frame = next(own_bundle.glob("golden/*.frame.png"))
    source = re.sub(r"^    ", "", code, flags=re.MULTILINE)
    source = source.replace('"bundle"', repr(str(own_bundle))).replace(
        '"street.jpg"', f"Path({str(frame)!r})"
    )
    names: dict[str, object] = {"Path": Path}
    exec(source, names)
    with open_model(own_bundle) as model:
        assert names["mask"].shape == model.size  # type: ignore[attr-defined]
