"""The packaged recipes: found by name, and what their headers promise."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kd_deploy.config.catalog import find, packaged, summary
from kd_deploy.config.load import load_recipe
from kd_deploy.runtime.errors import UserError

STUDENTS = ("deeplabv3plus-mobilenetv2", "segformer-b0")


def test_the_names() -> None:
    expected = {"demo", *(f"camvid/{s}-{m}" for s in STUDENTS for m in ("kd", "cwd", "bpkd"))}
    assert set(packaged()) >= expected
    assert list(packaged()) == sorted(packaged())
    assert all(path.is_file() for path in packaged().values())


@pytest.mark.parametrize("name", packaged())
def test_the_header_says_what_it_is_and_commands_that_name_it(name: str) -> None:
    text = packaged()[name].read_text(encoding="utf-8")
    header = text.partition("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert 20 < len(summary(packaged()[name])) <= 110
    commands = [shlex.split(line) for line in re.findall(r"^# kd-deploy (.*)$", header, re.MULTILINE)]
    runs = [words for words in commands if words[0] in ("train", "distill")]
    assert {words[0] for words in runs} == {"train", "distill"}
    for words in runs:
        assert words[1] == name
        overrides = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        load_recipe(words[1], overrides)  # as the header types it


@pytest.mark.parametrize("name", [name for name in packaged() if name.startswith("camvid/")])
def test_a_camvid_recipe_starts_without_a_network_as_its_header_says(name: str) -> None:
    header = packaged()[name].read_text(encoding="utf-8")
    hint = re.search(r"^# Without a network.*$", header, re.MULTILINE)
    assert hint is not None
    words = hint[0].split()
    recipe = load_recipe(name, [words[place + 1] for place, word in enumerate(words) if word == "--set"])
    assert (recipe.teacher.weights, recipe.student.weights) == ("none", "none")


def test_the_methods_are_compared_under_one_schedule() -> None:
    """Recipes of one student differ in `distill` alone, so that a difference is the method's."""
    for student in STUDENTS:
        rest = [
            load_recipe(f"camvid/{student}-{m}").model_copy(update={"distill": []})
            for m in ("kd", "cwd", "bpkd")
        ]
        assert rest[0] == rest[1] == rest[2]


def test_the_demo_needs_no_network_and_no_data() -> None:
    recipe = load_recipe("demo")
    assert recipe.data.format == "synthetic"
    assert (recipe.teacher.weights, recipe.student.weights) == ("none", "none")


def test_find_takes_a_file_or_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("demo") == packaged()["demo"]
    (tmp_path / "demo").mkdir()  # `kd-deploy demo -o demo` leaves one
    assert find("demo") == packaged()["demo"]
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("mine")
    assert find("demo") == Path("demo")
    (tmp_path / "my.yml").write_text("mine")
    assert find("my.yml") == Path("my.yml")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("demmo", "did you mean the packaged recipe 'demo'?"),
        ("segformer-b0-kd", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        ("camvid/segformer-b0-kd.yaml", "did you mean the packaged recipe 'camvid/segformer-b0-kd'?"),
        ("my/own.yaml", "no such file (see `kd-deploy recipes list`)"),
        ("x", "no packaged recipe of that name (see `kd-deploy recipes list`)"),
    ],
)
def test_find_suggests(name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find(name)
    assert str(caught.value).startswith(f"{name}: no such file")
    assert hint in str(caught.value)


def test_a_recipe_without_a_header_has_no_summary(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {}\n# later\n")
    assert summary(tmp_path / "r.yaml") == ""
    (tmp_path / "r.yaml").write_text("#  What it is \n# more\n")
    assert summary(tmp_path / "r.yaml") == "What it is"
