"""What a YAML file and the `--set` options say, as plain data that remembers where each key was said.

The YAML is composed into nodes and converted here: nothing but mappings, lists, text, numbers, true,
false and null can come out, whatever the file holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from kd_deploy.runtime.errors import UserError

Key = tuple[str | int, ...]
"""The way to a value from the top: ("distill", 0, "method")."""


class _Broken:
    def __repr__(self) -> str:
        return "(unreadable)"


BROKEN: Any = _Broken()
"""Stands for a value whose problem is reported already."""

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + name for name in ("str", "timestamp", "merge", "value")}  # YAML 1.2 has text for these
_VALUE_TAGS = {_TAG + name for name in ("int", "float", "bool", "null")}


class RecipeError(UserError):
    """Everything that is wrong with a recipe, a line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Origin(NamedTuple):
    """Where a key was said. Sorting puts the file's lines first, then the overrides as they were given."""

    override: int  # 0 for the file, n for the nth --set
    line: int
    name: str  # "recipes/my.yaml:12" or "--set train.iterations=9"
    key: Key = ()  # the key that an override sets: its name says it already


class Problem(NamedTuple):
    origin: Origin
    key: Key
    text: str

    def __str__(self) -> str:
        named = self.origin.override and self.key == self.origin.key
        key = f" {dotted(self.key)}:" if self.key and not named else ""
        return f"{self.origin.name}:{key} {self.text}"


class _SyntaxError(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"not valid YAML: {reason}")
        self.line = line


class Source:
    """A recipe file with overrides applied: `value`, and where each of its keys came from."""

    def __init__(self, path: Path) -> None:
        """Read `path`.

        Raises:
            RecipeError: the file cannot be read, is not YAML, or is not a mapping. Every later problem
                is gathered in `problems` instead.
        """
        self.problems: list[Problem] = []
        self._origins: dict[Key, Origin] = {}
        self._overrides = 0
        try:
            root = _compose(_read_text(path))
        except _SyntaxError as error:
            raise RecipeError([f"{path}:{error.line}: {error}"]) from error
        if not isinstance(root, MappingNode):
            what = "is empty" if root is None else f"holds {_kind(root)}"
            raise RecipeError([f"{path}:1: the file {what}; a recipe is a mapping of sections (key: value)"])
        self.value: Any = self._convert(root, (), lambda line: Origin(0, line, f"{path}:{line}"))

    def origin(self, key: Key) -> Origin:
        """Where `key` was said, or the nearest section above it that was."""
        while key not in self._origins:
            key = key[:-1]
        return self._origins[key]

    def override(self, text: str) -> None:
        """Apply one `--set`'s key=value, the value read as YAML; sections on the way are made as needed."""
        self._overrides += 1
        name, equals, value = text.partition("=")
        parts = name.strip().split(".")
        origin = Origin(self._overrides, 0, f"--set {_printable(text)}", tuple(parts))
        if not equals or not all(parts):
            self._report(origin, tuple(parts), "write key=value, for example train.iterations=1000")
            return
        try:
            node = _compose(value)
        except _SyntaxError as error:
            self._report(origin, tuple(parts), str(error))
            return
        place = self._place(parts, origin)
        if place is None:
            return
        holder, key = place
        origin = origin._replace(key=key)
        self._origins = {k: o for k, o in self._origins.items() if k[: len(key)] != key} | {key: origin}
        holder[key[-1]] = None if node is None else self._convert(node, key, lambda line: origin)

    def _place(self, parts: list[str], origin: Origin) -> tuple[Any, Key] | None:
        """The mapping or list that holds the last of `parts`, and the key to it with indices as numbers."""
        holder = self.value
        key: Key = ()
        for depth, part in enumerate(parts):
            step: str | int = part
            if isinstance(holder, list):
                if not (part.isdecimal() and int(part) < len(holder)):
                    wanted = f": name an index from 0 to {len(holder) - 1}, not '{part}'"
                    items = wanted if holder else " without items"
                    self._report(origin, origin.key, f"{dotted(key)} is a list{items}")
                    return None
                step = int(part)
            elif not isinstance(holder, dict):
                self._report(origin, origin.key, f"{dotted(key)} is a value, it has no keys")
                return None
            elif depth < len(parts) - 1 and holder.get(part) is None:
                holder[part] = {}
                self._origins[(*key, part)] = origin
            key = (*key, step)
            if depth < len(parts) - 1:
                holder = holder[step]
        return holder, key

    def _convert(self, node: Node, key: Key, origin_at: Callable[[int], Origin]) -> Any:
        """Plain data from a node; its problems are reported, its keys' origins kept."""
        origin = origin_at(node.start_mark.line + 1)
        self._origins.setdefault(key, origin)
        if node.anchor is not None:
            self._report(origin, key, "anchors and aliases (& and *) are not allowed; write the value out")
            return BROKEN
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._convert_mapping(node, key, origin_at)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self._convert(item, (*key, index), origin_at) for index, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in _TEXT_TAGS:
            return node.value
        if isinstance(node, ScalarNode) and node.tag in _VALUE_TAGS:
            return self._convert_scalar(node, key, origin)
        tag = _printable(str(node.tag).replace(_TAG, "!!"))
        self._report(origin, key, f"the tag {tag} is not allowed; a recipe holds plain values only")
        return BROKEN

    def _convert_scalar(self, node: Node, key: Key, origin: Origin) -> Any:
        try:
            value = YAML(typ="safe", pure=True).constructor.construct_object(node)
        except (ValueError, KeyError):  # !!int x, or more digits than Python converts
            value = BROKEN
        if value is BROKEN or (isinstance(value, int) and value.bit_length() > 64):
            kind = str(node.tag).removeprefix(_TAG)
            self._report(origin, key, f"{shown(node.value)} cannot be read as {kind}")
            return BROKEN
        return value

    def _convert_mapping(self, node: Node, key: Key, origin_at: Callable[[int], Origin]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for name, value in node.value:
            origin = origin_at(name.start_mark.line + 1)
            if not isinstance(name, ScalarNode):
                self._report(origin, key, f"a key must be text, not {_kind(name)}")
                continue
            inner = (*key, name.value)
            if name.value in mapping:
                self._report(origin, inner, f"the key stands twice, first at {self._origins[inner].name}")
                continue
            self._origins[inner] = origin
            mapping[name.value] = self._convert(value, inner, origin_at)
        return mapping

    def _report(self, origin: Origin, key: Key, text: str) -> None:
        self.problems.append(Problem(origin, key, text))


def _kind(node: Node) -> str:
    kinds = {MappingNode: "a mapping", SequenceNode: "a list", ScalarNode: "a single value"}
    return kinds[type(node)]


def dotted(key: Key) -> str:
    """("distill", 0, "method") -> "distill[0].method"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in key)
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """A value of a recipe for a message: one line, short."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value) if isinstance(value, (str, list)) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise RecipeError([f"{path}: no such file"]) from error
    except IsADirectoryError as error:
        raise RecipeError([f"{path}: is a folder; name a recipe file"]) from error
    except OSError as error:
        raise RecipeError([f"{path}: cannot be read ({error.strerror or error})"]) from error
    except UnicodeDecodeError as error:
        raise RecipeError([f"{path}: not a text file in UTF-8 (byte {error.start + 1})"]) from error


def _compose(text: str) -> Node | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # an anchor used twice; anchors are refused anyway
            node: Node | None = YAML(typ="safe", pure=True).compose(text)
            return node
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _SyntaxError(mark.line + 1 if mark else 1, _printable(str(error.problem))) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _SyntaxError(line, f"the character {chr(error.character)!r} is not allowed") from error
    except YAMLError as error:
        raise _SyntaxError(1, _printable(str(error))) from error
    except RecursionError as error:
        raise _SyntaxError(1, "nested too deeply") from error
