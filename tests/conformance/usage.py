"""Every use of TensorRT and cudart in our sources, held against type stubs of one version after the other.

mypy follows the objects: an unknown name, method or keyword, a wrong number or type of arguments is its
error, and a use behind `hasattr(object, "name")` is allowed to be missing, as everywhere in mypy. What
mypy would let pass is reported as unresolved: an attribute of something whose type is Any. Annotate it:
`builder: trt.Builder`, with `import tensorrt as trt` under `if TYPE_CHECKING`.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

CONFIG = """[mypy]
strict = True
disallow_any_expr = True
disallow_subclassing_any = False
warn_unused_ignores = False
warn_return_any = False
follow_imports = silent
ignore_missing_imports = True
show_error_end = True
pretty = False
"""
LINE = re.compile(r"(.+?):(\d+):(\d+):(\d+):(\d+): error: (.*)  \[[\w-]+\]")
HIDDEN = re.compile(r"#\s*type:\s*ignore(?!\[(?:misc|import-[\w-]+|no-any-return)\])")
Position = tuple[str, int, int, int, int]
"""File, first and last line, first and last column, as `ast` counts them."""


def run_mypy(
    files: Collection[Path], stubs: Path, root: Path, cache: Path
) -> tuple[list[str], set[Position]]:
    """mypy's errors on the files against the stubs, and where it meets an expression of type Any.

    Args:
        files: absolute paths.
        stubs: folder with tensorrt/__init__.pyi and cuda/bindings/runtime.pyi.
        root: of the checkout, where kd_deploy is found.
        cache: mypy's own; what the versions share is read once.
    """
    config = stubs / "mypy.ini"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(cache)]
    path = {"MYPYPATH": f"{stubs}:{root}", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [*command, "--explicit-package-bases", *files], capture_output=True, text=True, cwd=root, env=path
    )
    if run.returncode not in (0, 1):
        raise RuntimeError(f"mypy: {run.stdout}{run.stderr}")
    errors: list[str] = []
    untyped: set[Position] = set()
    checked = {str(file) for file in files}
    for name, line, column, end, last, text in (m.groups() for m in LINE.finditer(run.stdout)):
        file = str(root / name)
        if not text.startswith(("Expression has type ", "Expression type contains ")):
            if file in checked:
                errors.append(f"{file}:{line}: {text}")
        elif re.search(r'has type "(Any|Any \| .*|.* \| Any)"', text):
            untyped.add((file, int(line), int(end), int(column) - 1, int(last)))
    return errors, untyped


def unresolved(file: Path, untyped: set[Position]) -> Iterator[str]:
    """Uses in one file whose class mypy cannot know; `untyped` as all versions agree on it."""
    source = file.read_text(encoding="utf-8")
    for number, line in enumerate(source.splitlines(), 1):
        if HIDDEN.search(line):
            yield f"{file.name}:{number}: `type: ignore` hides the name from this check"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            value = node.value
            assert value.end_lineno is not None
            assert value.end_col_offset is not None
            where = (value.lineno, value.end_lineno, value.col_offset, value.end_col_offset)
            if (str(file), *where) in untyped:
                use = f"{ast.unparse(value)}.{node.attr}"
                yield f"{file.name}:{node.lineno}: unresolved: {use}: annotate {ast.unparse(value)}"
        elif isinstance(node, ast.Name) and node.id == "ModuleType":
            yield f"{file.name}:{node.lineno}: unresolved: a ModuleType has every name: import the module"
        elif isinstance(node, ast.Call) and _name(node) == "getattr" and len(node.args) == 2:
            yield f"{file.name}:{node.lineno}: unresolved: {ast.unparse(node)}: give a default"


def guarded(file: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each hasattr(x, "name") and getattr(x, "name", default)."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _name(node) in ("hasattr", "getattr") and len(node.args) > 1:
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def subclasses(file: Path) -> Iterator[str]:
    """Our classes that TensorRT calls: those derived from `trt.I...`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).startswith("trt.I") for base in node.bases
        ):
            yield node.name


def names(stub: Path) -> set[str]:
    """Every name that a type stub defines, whatever its class."""
    text = stub.read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(?:def |class )?(\w+)", text, re.MULTILINE))


def _name(call: ast.Call) -> str | None:
    return call.func.id if isinstance(call.func, ast.Name) else None
