"""The real bindings of each version, described; made once for a session."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import stubs, usage, wheels

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "kd_deploy" / "runtime"
SAMPLE = Path(__file__).with_name("sample.py")


def sources() -> list[Path]:
    """Our modules that use TensorRT or cudart: nvidia.py imports both late and uses neither."""
    use = re.compile(
        r"^ *(from|import) .*\b(tensorrt|cudart|cuda\.bindings|runtime\.nvidia|engines)\b", re.MULTILINE
    )
    files = sorted({*RUNTIME.glob("*.py"), *RUNTIME.glob("*/*.py")} - {RUNTIME / "nvidia.py"})
    return [file for file in files if use.search(file.read_text(encoding="utf-8"))]


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@dataclass(frozen=True)
class Checked:
    """One version, and what was found when our sources were held against it."""

    version: wheels.Version
    stubs: Path
    constructed: list[str]
    subclass_problems: list[str]
    errors: list[str]
    untyped: set[usage.Position]


def check(version: wheels.Version, folder: Path) -> Checked:
    folder.mkdir()
    stubs.compile_stubs(folder, version.major)
    path = [str(wheels.installed(name)) for name in (version.tensorrt, *version.cuda)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    command = [sys.executable, "-m", "tests.conformance.probe", str(folder), str(version.major)]
    probe = subprocess.run(
        [*command, *map(module, sources())], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if probe.returncode != 0:
        raise RuntimeError(f"{version}: {probe.stderr}")
    cache = wheels.cache() / "mypy"
    errors, untyped = usage.run_mypy([*sources(), SAMPLE], folder, ROOT, cache)
    constructed, problems = json.loads(probe.stdout)
    return Checked(version, folder, constructed, problems, errors, untyped)


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[Checked]:
    """Every version; skips where this machine cannot, but fails there with KD_DEPLOY_CONFORMANCE=required."""
    try:
        if sys.platform != "linux" or stubs.compiler() is None:
            raise wheels.UnavailableError("gcc on Linux is needed for the stub libraries")
        for version in wheels.VERSIONS:
            for name in (version.tensorrt, *version.cuda):
                wheels.installed(name)
    except wheels.UnavailableError as reason:
        stop = pytest.fail if os.environ.get("KD_DEPLOY_CONFORMANCE") == "required" else pytest.skip
        stop(f"API conformance is not checked: {reason}")
    folder = tmp_path_factory.mktemp("conformance")
    return [check(version, folder / version.tensorrt.partition("==")[2]) for version in wheels.VERSIONS]
