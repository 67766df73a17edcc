"""The real Python bindings of TensorRT and CUDA: installed from the package index, each into a folder of its own.

The bindings alone, without the libraries they call (--no-deps): megabytes instead of gigabytes, and no GPU or driver.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Version(NamedTuple):
    """One state of the world that the runtime must work with."""

    major: int
    """TensorRT's, and so the number in its libraries' names."""
    tensorrt: str
    cuda: tuple[str, ...]

    def __str__(self) -> str:
        return "TensorRT " + self.tensorrt.partition("==")[2]


PATHFINDER = "cuda-pathfinder==1.9.0"
# JetPack 6's; late 10.x; 11. Of cuda-bindings an early 12, an early 13 and a late one.
VERSIONS = (
    Version(10, "tensorrt-cu12-bindings==10.3.0", ("cuda-bindings==12.8.0",)),
    Version(10, "tensorrt-cu13-bindings==10.16.1.11", ("cuda-bindings==13.0.3", PATHFINDER)),
    Version(11, "tensorrt-cu13-bindings==11.4.0.106", ("cuda-bindings==13.5.0", PATHFINDER)),
)


class UnavailableError(Exception):
    """Why the check cannot run on this machine; one line."""


def cache() -> Path:
    """$KD_DEPLOY_CONFORMANCE_CACHE, or a folder of the user's cache; one for each version of Python."""
    base = (
        os.environ.get("KD_DEPLOY_CONFORMANCE_CACHE") or Path.home() / ".cache" / "kd-deploy" / "conformance"
    )
    return Path(base) / f"{sys.implementation.cache_tag}-{sys.platform}"


def installed(requirement: str) -> Path:
    """The folder that holds `requirement` (name==version) and nothing else.

    Raises UnavailableError where pip finds no wheel for this Python or does not reach the index.
    """
    folder = cache() / requirement.replace("==", "-")
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        target = Path(temporary, "target")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run = subprocess.run(
            [*pip, "--only-binary=:all:", "--target", target, requirement], capture_output=True, text=True
        )
        if run.returncode != 0:
            python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise UnavailableError(
                f"{requirement} cannot be installed for {python} on {sys.platform}: {reason}"
            )
        if not folder.is_dir():  # another process may have been faster
            shutil.move(target, folder)
    return folder
