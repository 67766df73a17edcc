"""A virtual environment with what a device has and nothing else, and kd-deploy's wheel in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

DEVICE = ("click", "rich", "numpy", "cv2", "onnxruntime")
"""Modules that a device has: the core's, OpenCV and a backend."""

PURE = ("click", "rich")
"""Those of them that any Python imports, whichever Python they were installed for."""

ROOT = Path(__file__).parents[2]

ABSENT = (
    "torch",
    "torchvision",
    "onnx",
    "pydantic",
    "ruamel",
    "matplotlib",
    "PIL",
    "jinja2",
    "safetensors",
    "tensorrt",
)
"""Modules of the training side, and one that this device lacks."""


@dataclass(frozen=True)
class Device:
    """A virtual environment.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A program of the environment, which sees nothing of this one's."""
        program, *arguments = map(str, command)
        kept = ("PATH", "HOME", "LANG", "OMP_NUM_THREADS", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        line = [str(self.folder / "bin" / program), *arguments]
        return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment)


def linked(
    folder: Path,
    wheel: Path,
    modules: Iterable[str],
    interpreter: str = sys.executable,
    system: Iterable[str] | None = None,
) -> Device:
    """Without an index: the modules' distributions and all that they require are links to those installed here.

    pip installs the wheel, with its dependencies where `interpreter` is this Python: they must be there then.

    Args:
        system: distributions that are `interpreter`'s own, as a Jetson's are; None: it sees none of its own.
    """
    sees = [] if system is None else ["--system-site-packages"]
    subprocess.run([interpreter, "-m", "venv", "--without-pip", *sees, str(folder)], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    owners = metadata.packages_distributions()
    for name in _closure(owners[module][0] for module in modules) - set(system or ()):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            target = Path(str(distribution.locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(target)
    device = Device(folder)
    dependencies = [] if interpreter == sys.executable else ["--no-deps"]
    _pip("--python", str(device.python), "install", "--no-index", *dependencies, str(wheel))
    return device


def installed(folder: Path, wheel: Path, libraries: Iterable[str], interpreter: str) -> Device:
    """From the index: the wheel, its dependencies and `libraries`, as a user installs them."""
    subprocess.run([interpreter, "-m", "venv", "--without-pip", str(folder)], check=True)
    device = Device(folder)
    _pip("--python", str(device.python), "install", str(wheel), *libraries)
    return device


def gstreamer_python() -> str | None:
    """The system's own Python, where its OpenCV has GStreamer and this Python's binary modules fit it; or None."""
    source = (
        "import cv2, sys; from kd_deploy.runtime.video.opencv import has_gstreamer; "
        "print(sys.version_info[:2], has_gstreamer())"
    )
    try:
        said = subprocess.run(
            ["/usr/bin/python3", "-c", source], capture_output=True, text=True, cwd=ROOT
        ).stdout
    except OSError:
        return None
    return "/usr/bin/python3" if said.strip() == f"{sys.version_info[:2]} True" else None


def python310() -> str | None:
    """A Python 3.10 of this machine that starts, or None."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which("python3.10"), *map(str, sorted(versions.glob("3.10.*/bin/python3.10")))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode == 0:
            return candidate
    return None


def _closure(names: Iterable[str]) -> set[str]:
    """The distributions and what they require on this machine, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def _pip(*arguments: str) -> None:
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
