"""A type stub of cuda.bindings.runtime: names and parameters from Cython, what is returned from docstrings."""

import inspect
import re
from types import ModuleType
from typing import Any

PLAIN = {"bytes": "bytes", "float": "float", "bool": "bool"}


def _type(module: ModuleType, word: str) -> str:
    """The type that a docstring names: a class of the module, bytes, a C number; else Any."""
    name = re.sub(r"^:py:obj:`~\.|`$", "", word.strip())
    if isinstance(getattr(module, name, None), type):
        return name
    return PLAIN.get(
        name, "int" if re.fullmatch(r"(unsigned |long )*(int|long|size_t|char)", name) else "Any"
    )


def _returns(module: ModuleType, doc: str) -> str:
    """The tuple that a function returns: numpydoc's Returns section, its entries at the margin of its title."""
    section = re.search(
        r"^( *)Returns\n\1-+\n(.*?)(?:\n\n\1\w[^\n]*\n\1---|\Z)", doc, re.MULTILINE | re.DOTALL
    )
    if section is None:
        return "tuple[Any, ...]"
    entries = re.findall(rf"^{section[1]}(\S.*)$", section[2], re.MULTILINE)
    types = [_type(module, entry.rpartition(" : ")[2].removeprefix("cudaError_t.")) for entry in entries]
    return f"tuple[{', '.join(types)}]"


def _class(module: ModuleType, name: str, cls: type) -> list[str]:
    if hasattr(cls, "__members__"):  # some versions have an enum of their own
        return [
            f"class {name}(enum.IntEnum):",
            "    ...",
            *(f"    {member} = {int(value)}" for member, value in cls.__members__.items()),
        ]
    types = dict(re.findall(r"^ *(\w+) : (.+)$", cls.__doc__ or "", re.MULTILINE))
    lines = [
        f"class {name}:",
        "    def __init__(self, *args: Any) -> None: ...",
        "    def __int__(self) -> int: ...",
    ]
    for member, value in inspect.getmembers(cls):
        if not member.startswith("_"):
            kind = _type(module, types.get(member, "Any"))
            mark = [] if callable(value) else ["    @property"]
            lines += [*mark, f"    def {member}(self) -> {kind}: ..."]
    return lines


def _function(module: ModuleType, name: str, value: Any) -> str:
    parameters = ", ".join(f"{parameter}: Any" for parameter in inspect.signature(value).parameters)
    return f"def {name}({parameters}) -> {_returns(module, value.__doc__ or '')}: ..."


def type_stub(module: ModuleType) -> str:
    """Functions with parameter names, enums with members, structures with attributes, integer constants."""
    lines = ["import enum", "from typing import Any"]
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__:
            lines += _class(module, name, value)
        elif name.startswith("cuda") and callable(value):
            lines.append(_function(module, name, value))
        elif name.startswith("cuda") and isinstance(value, int):
            lines.append(f"{name}: int")
    return "\n".join(lines) + "\n"
