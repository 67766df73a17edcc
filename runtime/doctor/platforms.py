"""Which machine this is, as far as the way of installing things hangs on it: one place for all that ask."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_SYSTEMS = {"win32": "Windows", "darwin": "macOS"}  # all else is taken for Linux
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # as Windows and macOS call them

_JETPACKS = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}
"""Major release of Jetson Linux -> JetPack."""

_UBUNTUS = {"20.04": 5, "22.04": 6, "24.04": 7}
"""Ubuntu, which a JetPack is and its containers are made of -> JetPack."""


@dataclass(frozen=True)
class Platform:
    """The machine.

    Attributes:
        system: Linux, Windows or macOS.
        machine: processor architecture, x86_64 or aarch64 for those that are.
        jetpack: of a Jetson, the major version; None: it is no Jetson.
        board: of a Jetson, as it calls itself.
    """

    system: str
    machine: str
    jetpack: int | None = None
    board: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        if self.jetpack is not None:
            return f"JetPack {self.jetpack}" + (f" ({self.board})" if self.board else "")
        return f"{'desktop ' if self.system == 'Linux' else ''}{self.system} ({self.machine})"

    @property
    def onnxruntime_gpu(self) -> bool:
        """Whether the package index has ONNX Runtime with CUDA for it, as setup.cfg takes it."""
        return self.jetpack is None and self.system != "macOS" and self.machine == "x86_64"

    @property
    def jetson_cuda(self) -> int:
        """Major version of a Jetson's CUDA."""
        return 12 if (self.jetpack or 0) <= 6 else 13


def detect(root: Path = Path("/"), system: str = sys.platform, machine: str = "") -> Platform:
    """This machine.

    Args:
        root: where /etc and /proc lie.
        system: as `sys.platform`.
        machine: as `platform.machine()`, which is the default.
    """
    machine = (machine or platform.machine()).lower()
    machine = _MACHINES.get(machine, machine)
    if system in _SYSTEMS:
        return Platform(_SYSTEMS[system], machine)
    board = _read(root / "proc/device-tree/model").strip("\0\n ") or None
    release = re.match(r"# R(\d+) ", _read(root / "etc/nv_tegra_release"))
    if release:
        jetpack = _JETPACKS.get(int(release[1]), max(_JETPACKS.values()))  # unknown: a newer one
    elif (
        board and "NVIDIA" in board and "Jetson" in board
    ):  # a container has the board's file, not the release's
        ubuntu = re.search(r'^VERSION_ID="?([\d.]+)', _read(root / "etc/os-release"), re.MULTILINE)
        jetpack = _UBUNTUS.get(ubuntu[1] if ubuntu else "", max(_UBUNTUS.values()))
    else:
        return Platform("Linux", machine)
    return Platform("Linux", machine, jetpack, board)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
