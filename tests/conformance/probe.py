"""Run in a process of its own: import one version's bindings over the stub libraries and say what is there.

    python -m tests.conformance.probe OUT MAJOR [MODULE...]

Writes OUT/tensorrt/__init__.pyi and OUT/cuda/bindings/runtime.pyi, then imports our modules and
constructs each class that they derive from TensorRT's interfaces. Prints, as JSON, the names of those
classes and what is wrong with them.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

from tests.conformance import cython, pybind, stubs

INTERFACES = ("ILogger", "IProgressMonitor", "IProfiler")


def write_type_stubs(trt: ModuleType, runtime: ModuleType, out: Path) -> None:
    for name, text in {
        "tensorrt/__init__.pyi": pybind.type_stub(trt),
        "cuda/__init__.pyi": "",
        "cuda/bindings/__init__.pyi": "__version__: str\n",
        "cuda/bindings/runtime.pyi": cython.type_stub(runtime),
    }.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)


def construct(call: Callable[..., object], **known: object) -> object:
    """Call it with what is known by a parameter's name, and a mock for every other argument that it needs."""
    needed = [p for p in inspect.signature(call).parameters.values() if p.default is p.empty]
    named = [p for p in needed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return call(**{p.name: known.get(p.name, MagicMock()) for p in named})


def subclass_problems(cls: type, interface: type) -> list[str]:
    """Construct it, and compare its methods with the ones that TensorRT will call, by position."""
    problems = []
    try:
        construct(cls)
    except Exception as error:
        problems.append(f"{cls.__name__}: not constructed: {error!r}")
    for name, method in vars(interface).items():
        if name.startswith("_") or type(method).__name__ != "instancemethod":
            continue
        arguments = method.__doc__.partition(" -> ")[0].count(": ")  # self among them
        try:
            inspect.signature(vars(cls)[name]).bind(*range(arguments))
        except (KeyError, TypeError) as error:
            problems.append(f"{cls.__name__}.{name}: {error!r}: TensorRT gives {arguments} arguments")
    return problems


def call_factories(trt: ModuleType, module: ModuleType) -> list[object]:
    """What the module's make_...() make: a class inside such a function exists when it has run."""
    made = []
    for name, function in vars(module).items():
        if name.startswith("make_") and function.__module__ == module.__name__:
            with suppress(Exception):  # TensorRT's own objects are null here
                made.append(construct(function, trt=trt))
    return made


def main(out: str, major: str, *modules: str) -> None:
    stubs.load_stubs(Path(out), int(major))
    trt = importlib.import_module("tensorrt_bindings")
    write_type_stubs(trt, importlib.import_module("cuda.bindings.runtime"), Path(out))
    sys.modules["tensorrt"] = trt  # the package of this name does no more than import the bindings
    alive = [call_factories(trt, importlib.import_module(module)) for module in modules]
    interfaces = [getattr(trt, name) for name in INTERFACES]
    ours = [(cls, base) for base in interfaces for cls in base.__subclasses__() if cls.__module__ in modules]
    problems = [problem for cls, base in ours for problem in subclass_problems(cls, base)]
    print(json.dumps([sorted(cls.__name__ for cls, _ in ours), problems]))
    del alive


if __name__ == "__main__":
    main(*sys.argv[1:])
