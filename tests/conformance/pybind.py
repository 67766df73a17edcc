"""A type stub (.pyi) of the imported TensorRT bindings, written from what pybind11 put into their docstrings.

The wheels carry no .pyi; mypy's stubgen writes one, but with `*args: Any` wherever it fails to read a
signature, and Any hides what this check looks for. Here a signature that cannot be read is an error, and
a C++ type that Python does not have is `object`.
"""

import ast
import inspect
import keyword
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

HEADER = "import builtins\nimport collections.abc\nimport typing\nimport typing_extensions\n\n"
SEQUENCE = "collections.abc.Sequence"
# What a docstring says -> what Python calls it. The bindings have a `bool` of their own, a DataType.
SPELLINGS: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"\btensorrt_bindings\.tensorrt\.": "",
    r"\b(?:nvinfer1|nvonnxparser)::(?:v_\d+_\d+::)?": "",
    r"\bIParserError\b": "ParserError",
    r"\bIBuilder\b": "Builder",
    r"(?<![\w.])(?:List|Tuple|Dict)\b": lambda found: found[0].lower(),
    r"\btyping\.Supports(?:Int|Float)\b": lambda found: found[0][len("typing.Supports") :].lower(),
    r"(?<![\w.])(?:buffer|Buffer)\b": "typing_extensions.Buffer",
    r"(?<![\w.])(?:handle|capsule|method)\b|typing_extensions\.CapsuleType|detail::accessor(?:\.\.\.)?": "object",
    r"(?<![\w.])(?:Iterable|Iterator|Callable)\b": lambda found: f"collections.abc.{found[0]}",
    r"(?<![\w.])numpy\.ndarray(?:\[[^]]*\])?": "typing.Any",
    r"(?<![\w.])(?:bool|int|str|float|bytes|object|list|tuple|dict|slice|memoryview)\b": lambda found: (
        f"builtins.{found[0]}"
    ),
}
# Written in Python by the bindings, without a signature; and what a docstring has no word for.
UNWRITTEN = {
    "volume": "builtins.int",
    "nptype": "builtins.type[typing.Any]",
    "itemsize": "builtins.float",
}
EXTRA = {
    "Dims": ["def __iter__(self) -> collections.abc.Iterator[builtins.int]: ..."],  # through __getitem__
    "IHostMemory": ["def __buffer__(self, flags: builtins.int, /) -> builtins.memoryview: ..."],
}


class _Names(ast.NodeTransformer):
    """Make `object` of the types that the module does not have."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = hasattr(self.module, node.id) or node.id in HEADER
        return node if known else ast.parse("builtins.object", mode="eval").body


def _spelled(text: str) -> str:
    for pattern, name in SPELLINGS.items():
        text = re.sub(rf"(?:{pattern})(?!: )", name, text)  # a parameter may be called `handle`
    return text


def _annotation(module: ModuleType, text: str, parameter: bool = False) -> ast.expr:
    text = _spelled(text)
    if parameter:  # conversions that the bindings make for a caller
        text = re.sub(r"\bbuiltins\.list\[", f"{SEQUENCE}[", text)
        text = re.sub(r"(?<![\w.])Dims\b", f"Dims | {SEQUENCE}[builtins.int]", text)
    node: ast.expr = _Names(module).visit(ast.parse(text, mode="eval").body)
    return node


def _defaulted(signature: str) -> str:
    """Write defaults as `...`, also behind a default, where C++ allows a parameter without one and Python does not."""
    inner, arrow, returns = signature.rpartition(") -> ")
    parameters = re.split(r", (?=\w+: )", inner)
    for k in range(1, len(parameters)):
        name, equals, _ = parameters[k].partition(" = ")
        if equals or parameters[k - 1].endswith(" = ..."):
            parameters[k] = f"{name} = ..."
    return ", ".join(parameters) + arrow + returns


def _signatures(module: ModuleType, name: str, doc: str | None, static: bool) -> Iterator[str]:
    """A `def` line for each overload that pybind11 wrote into a docstring as `name(self: C, a: int = 0) -> R`."""
    found = re.findall(r"^\s*(?:\d+\. )?\w+(\(.*\) -> .*)$", doc or "", re.MULTILINE)
    if not found:
        raise ValueError(f"no signature in the docstring of {name}: {doc!r}")
    for text in found:
        text = _spelled(re.sub(r"<[^<>]*>", "...", text))  # <DataType.FLOAT: 0> as a default
        text = re.sub(rf"\b({'|'.join(keyword.kwlist)}|arg\d+)(?=: )", r"__\1", text)  # by position alone
        function = ast.parse(f"def {name}{_defaulted(text)}: ...").body[0]
        assert isinstance(function, ast.FunctionDef)
        assert function.returns is not None
        for argument in function.args.args:
            if argument.annotation is not None:
                argument.annotation = _annotation(module, ast.unparse(argument.annotation), parameter=True)
        if not static and function.args.args:
            function.args.args[0].annotation = None  # self, at times as C++ calls it
        function.returns = _annotation(module, ast.unparse(function.returns))
        yield ast.unparse(function).replace("\n    ...", " ...")


def _function(module: ModuleType, name: str, value: Any, static: bool = False) -> list[str]:
    if inspect.isfunction(value):
        parameters = ", ".join(inspect.signature(value).parameters)
        return [f"def {name}({parameters}) -> {UNWRITTEN.get(name, 'builtins.object')}: ..."]
    lines = list(_signatures(module, name, value.__doc__, static))
    marks = (["@typing.overload"] if len(lines) > 1 else []) + (["@staticmethod"] if static else [])
    return [text for line in lines for text in (*marks, line)]


def _property(module: ModuleType, name: str, value: property) -> list[str]:
    get = re.search(r"\) -> (.*)", getattr(value.fget, "__doc__", None) or "")
    kind = ast.unparse(_annotation(module, get[1])) if get else UNWRITTEN.get(name, "builtins.object")
    lines = ["@property", f"def {name}(self) -> {kind}: ..."]
    if value.fset is not None:
        new = re.search(r", arg1: (.*)\) ->", value.fset.__doc__ or "")
        kind = ast.unparse(_annotation(module, new[1], parameter=True)) if new else kind
        lines += [f"@{name}.setter", f"def {name}(self, value: {kind}) -> None: ..."]
    return lines


def _attribute(module: ModuleType, owner: type, name: str, value: Any) -> list[str]:
    """The stub's lines for one attribute of a class; none for what Python itself put there."""
    if name == "__members__":  # a property of the class itself: written by _class
        return []
    if isinstance(value, type):  # Logger.Severity is ILogger.Severity
        own = value.__qualname__ == f"{owner.__qualname__}.{name}"
        return _class(module, name, value) if own else [f"{name} = {value.__qualname__}"]
    if isinstance(value, property):
        return _property(module, name, value)
    if isinstance(value, staticmethod):
        return _function(module, name, value.__func__, static=True)
    if type(value).__name__ == "instancemethod" or inspect.isfunction(value):
        return _function(module, name, value)
    if name.startswith("_"):
        return []
    kind = ast.unparse(_annotation(module, type(value).__qualname__))
    if name in getattr(owner, "__members__", {}):
        kind = f"typing.Annotated[{kind}, {int(value)}]"  # the number, for the comparison with the fake
    return [f"{name}: typing.ClassVar[{kind}]"]


def _class(module: ModuleType, name: str, cls: type) -> list[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base.__module__ == cls.__module__)
    lines = [*EXTRA.get(name, [])]
    for attribute, value in vars(cls).items():
        if attribute not in ("__eq__", "__ne__", "__hash__", "_pybind11_conduit_v1_"):  # as `object` has them
            lines += _attribute(module, cls, attribute, value)
    if hasattr(cls, "__members__"):
        lines.append(f"__members__: typing.ClassVar[builtins.dict[builtins.str, {cls.__qualname__}]]")
    return [f"class {name}({bases}):", *(f"    {line}" for line in lines or ["..."])]


def type_stub(module: ModuleType) -> str:
    """The module's public surface: classes with bases, methods with parameters, properties, enum members, functions."""
    lines = ["__version__: builtins.str"]
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        if isinstance(value, type):
            lines += _class(module, name, value)
        elif inspect.isroutine(value):
            lines += [line for line in _function(module, name, value, static=True) if line != "@staticmethod"]
        elif type(value).__module__.startswith("tensorrt_bindings"):
            lines.append(f"{name}: {type(value).__qualname__}")
    return HEADER + "\n".join(lines) + "\n"
