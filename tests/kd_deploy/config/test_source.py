"""The YAML side: syntax, duplicate keys, tags, what can come out, and where each key was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.source import RecipeError, Source, dotted, shown


def source(folder: Path, text: str | bytes) -> Source:
    path = folder / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Source(path)


def problems(given: Source) -> list[str]:
    return [str(problem) for problem in given.problems]


def test_values_follow_yaml_1_2(tmp_path: Path) -> None:
    lines = "a: yes|b: 0o10|c: 1e-3|d: 2001-01-01|e: ~|f: true|g: [1, 'x']|h: {i: .5}|1: one|null: none"
    given = source(tmp_path, lines.replace("|", "\n"))
    assert given.value == {
        "a": "yes",
        "b": 8,
        "c": 0.001,
        "d": "2001-01-01",
        "e": None,
        "f": True,
        "g": [1, "x"],
        "h": {"i": 0.5},
        "1": "one",
        "null": "none",
    }
    assert given.problems == []


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "holds a list"),
        ("just words\n", 1, "holds a single value"),
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\nb: c: d\n", 2, "mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: *nowhere\n", 2, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: \x00\n", 2, "'\\x00' is not allowed"),
        ("a: " + "[" * 700, 1, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_as_a_mapping_names_the_line(
    tmp_path: Path, text: str, line: int, part: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        source(tmp_path, text)
    (message,) = caught.value.problems
    assert message.startswith(f"{tmp_path / 'r.yaml'}:{line}: ")
    assert part in message
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml: not a text file in UTF-8 \(byte 4\)"):
        source(tmp_path, b"a: \xff\xfe")
    with pytest.raises(RecipeError, match=f"{tmp_path}: is a folder; name a recipe file"):
        Source(tmp_path)
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file"):
        Source(tmp_path / "none.yaml")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(RecipeError, match=r"r\.yaml: cannot be read \(Permission denied\)"):
        Source(tmp_path / "r.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert source(tmp_path, b"\xef\xbb\xbfa: 1\n").value == {"a": 1}


def test_every_duplicate_key_names_both_lines(tmp_path: Path) -> None:
    given = source(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\na: 2\na: 3\n")
    path = tmp_path / "r.yaml"
    assert problems(given) == [
        f"{path}:4: b.c: the key stands twice, first at {path}:3",
        f"{path}:5: a: the key stands twice, first at {path}:1",
        f"{path}:6: a: the key stands twice, first at {path}:1",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system [echo]",
        "!!python/object:os.system {}",
        "!thing x",
        "!!binary aGk=",
        "!!set {x}",
        "!!map x",
        "!!str {x: 1}",
        "!!int [1]",
    ],
)
def test_tags_build_no_objects(tmp_path: Path, value: str) -> None:
    given = source(tmp_path, f"a: 1\nb: {value}\n")
    (problem,) = problems(given)
    assert problem.startswith(f"{tmp_path / 'r.yaml'}:2: b: the tag !")
    assert "is not allowed" in problem


@pytest.mark.parametrize("value", ["!!int words", "!!bool maybe", "9" * 5000, "0x" + "f" * 5000])
def test_a_scalar_that_is_not_what_it_says(tmp_path: Path, value: str) -> None:
    (problem,) = problems(source(tmp_path, f"a: {value}\n"))
    assert "a: " in problem
    assert "cannot be read as" in problem
    assert len(problem) < len(str(tmp_path)) + 150


def test_anchors_are_refused_so_that_nothing_expands(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    given = source(tmp_path, "\n".join(lines))
    assert len(given.problems) == 40
    assert all("anchors and aliases" in problem for problem in problems(given))
    assert problems(source(tmp_path, "a: &a {b: *a}\n"))  # a cycle ends too
    assert problems(source(tmp_path, "a: &x 1\nb: &x 2\n"))  # and ruamel's warning stays away


def test_a_key_that_is_no_text(tmp_path: Path) -> None:
    assert problems(source(tmp_path, "a: 1\n? [1, 2]\n: 3\n")) == [
        f"{tmp_path / 'r.yaml'}:2: a key must be text, not a list"
    ]


def test_origins_are_those_of_the_nearest_key(tmp_path: Path) -> None:
    given = source(tmp_path, "a:\n  b: 1\n  c:\n    - 2\n    - d: 3\n")
    assert given.origin(("a", "b")).line == 2
    assert given.origin(("a", "c", 1, "d")).line == 5
    assert given.origin(("a", "c", 0)).line == 4
    assert given.origin(("a", "missing")).line == 1
    assert given.origin(("missing",)).line == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "l": [{"x": 1}, 5], "n": None}),
        ("a={c: [1, x]}", {"a": {"c": [1, "x"]}, "l": [{"x": 1}, 5], "n": None}),
        ("a.new.deep=yes", {"a": {"b": 1, "new": {"deep": "yes"}}, "l": [{"x": 1}, 5], "n": None}),
        ("n.k=1", {"a": {"b": 1}, "l": [{"x": 1}, 5], "n": {"k": 1}}),
        ("l.0.x=a=b", {"a": {"b": 1}, "l": [{"x": "a=b"}, 5], "n": None}),
        ("l.1=", {"a": {"b": 1}, "l": [{"x": 1}, None], "n": None}),
    ],
)
def test_an_override_changes_one_value(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    given = source(tmp_path, "a: {b: 1}\nl: [{x: 1}, 5]\nn:\n")
    given.override(text)
    assert given.value == expected
    assert given.problems == []


def test_an_override_owns_what_it_sets_and_no_more(tmp_path: Path) -> None:
    given = source(tmp_path, "a:\n  b: {c: 1}\n  d: 2\n")
    given.override("a.b={e: 1}")
    assert given.origin(("a", "b", "e")).name == "--set a.b={e: 1}"
    assert given.origin(("a", "b", "c")).name == "--set a.b={e: 1}"
    assert given.origin(("a", "d")).line == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "write key=value, for example train.iterations=1000"),
        ("a..b=1", "write key=value, for example train.iterations=1000"),
        ("=1", "write key=value, for example train.iterations=1000"),
        ("a.b=[1", "not valid YAML"),
        ("a.b=!!python/object:os.system {}", "the tag !!python/object:os.system is not allowed"),
        ("a.b={c: 1, c: 2}", "a.b.c: the key stands twice, first at --set a.b={c: 1, c: 2}"),
        ("l.2.x=1", "l is a list: name an index from 0 to 1, not '2'"),
        ("l.-1.x=1", "l is a list: name an index from 0 to 1, not '-1'"),
        ("l.x=1", "l is a list: name an index from 0 to 1, not 'x'"),
        ("e.0=1", "e is a list without items"),
        ("a.b.c=1", "a.b is a value, it has no keys"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(tmp_path: Path, text: str, problem: str) -> None:
    given = source(tmp_path, "a: {b: 1}\nl: [{x: 1}, 5]\ne: []\n")
    given.override(text)
    (found,) = problems(given)
    assert found.startswith(f"--set {text}: {problem}")


def test_dotted_and_shown_are_one_short_line() -> None:
    assert dotted(("distill", 0, "options", "temperature")) == "distill[0].options.temperature"
    assert dotted(("a\nb", "c")) == "'a\\nb'.c"
    assert [shown(value) for value in (None, True, "x", 1.5, {"a": 1}, [1, "b"])] == [
        "empty",
        "true",
        "'x'",
        "1.5",
        "a mapping",
        "[1, 'b']",
    ]
    assert len(shown("x" * 1000)) == 60
