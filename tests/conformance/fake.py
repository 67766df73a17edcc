"""Whether a fake TensorRT has anything that the real one has not: a test on such a fake would prove nothing."""

import ast
import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Class:
    """A class of a type stub.

    Attributes:
        methods: parameter names, one tuple for each overload.
        others: the other members.
        numbers: of those that are an enum's.
    """

    bases: list[str]
    methods: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)


Surface = Mapping[str, Class | tuple[str, ...] | None]
"""What a module has: classes, functions with the names of their parameters, and other names (None)."""


def surface(stub: Path) -> Surface:
    """Every name at the top of a type stub."""
    found: dict[str, Class | tuple[str, ...] | None] = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = _class(node)
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = tuple(argument.arg for argument in (*node.args.posonlyargs, *node.args.args))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = None
    return found


def _class(node: ast.ClassDef) -> Class:
    cls = Class([ast.unparse(base) for base in node.bases])
    for member in node.body:
        if isinstance(member, ast.FunctionDef):
            marks = {ast.unparse(mark) for mark in member.decorator_list}
            if "property" in marks or f"{member.name}.setter" in marks:
                cls.others.add(member.name)
            else:
                arguments = (*member.args.posonlyargs, *member.args.args)
                cls.methods.setdefault(member.name, []).append(
                    tuple(argument.arg for argument in arguments[1:])
                )
        elif isinstance(member, ast.ClassDef):
            cls.others.add(member.name)
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            cls.others.add(member.target.id)
            if number := re.search(r"Annotated\[.*, (-?\d+)\]", ast.unparse(member.annotation)):
                cls.numbers[member.target.id] = int(number[1])
        elif isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
            cls.others.add(member.targets[0].id)
            if isinstance(member.value, ast.Constant) and isinstance(member.value.value, int):
                cls.numbers[member.targets[0].id] = member.value.value
    return cls


def surplus(fake: Mapping[str, Any], real: Surface) -> Iterator[str]:
    """What the fake's public names (`vars` of the module) have and `real` has not."""
    for name, value in fake.items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if name not in real:
            yield f"{name}: TensorRT has no such name"
        elif inspect.isroutine(value) and isinstance(theirs := real[name], tuple):
            mine = tuple(inspect.signature(value).parameters)
            if not _fits(mine, theirs):
                yield f"{name}: {mine} is not {theirs}"
        elif isinstance(value, type) and isinstance(cls := real[name], Class):
            whole = _with_bases(cls, real)
            yield from (
                _surplus_enum(value, whole)
                if issubclass(value, enum.Enum)
                else _surplus_members(name, value, whole)
            )


def _with_bases(cls: Class, real: Surface) -> Class:
    whole = Class([], dict(cls.methods), set(cls.others), cls.numbers)
    for name in cls.bases:
        base = real.get(name)
        if isinstance(base, Class):
            above = _with_bases(base, real)
            whole.methods = {**above.methods, **whole.methods}
            whole.others |= above.others
    return whole


def _surplus_enum(value: type[enum.Enum], cls: Class) -> Iterator[str]:
    for member in value:
        number = cls.numbers.get(member.name)
        if number != member.value:
            yield f"{value.__name__}.{member.name}: {member.value} in the fake, {number} in TensorRT"


def _surplus_members(name: str, value: type, cls: Class) -> Iterator[str]:
    members = set(vars(value)) | set(inspect.get_annotations(value)) | _set_on_self(value)
    for member in sorted(members):
        method = vars(value).get(member)
        if member != "__init__" and member.startswith("_"):
            continue
        if member not in cls.others and member not in cls.methods and member != "__init__":
            yield f"{name}.{member}: TensorRT's {name} has no such member"
        elif inspect.isfunction(method) and member in cls.methods:
            mine = tuple(inspect.signature(method).parameters)[1:]
            if not any(_fits(mine, theirs) for theirs in cls.methods[member]):
                yield f"{name}.{member}: {mine} is not {' or '.join(map(str, cls.methods[member]))}"


def _fits(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """The same parameters in the same order, perhaps without the last ones; a nameless one may have any name."""
    pairs = zip(mine, theirs, strict=False)
    return len(mine) <= len(theirs) and all(a == b or b.startswith("__") for a, b in pairs)


def _set_on_self(value: type) -> set[str]:
    """Public attributes that a class's methods assign."""
    names: set[str] = set()
    for method in vars(value).values():
        if inspect.isfunction(method) and method.__code__.co_varnames:
            source = ast.parse(inspect.cleandoc("\n" + inspect.getsource(method)))
            names |= {
                node.attr
                for node in ast.walk(source)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == method.__code__.co_varnames[0]
            }
    return names
