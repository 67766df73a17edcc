"""What an engine was built from and for: its name on disk, and whether it may run here. Nothing of TensorRT."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from kd_deploy.runtime.errors import UserError

LEVELS = range(6)
"""TensorRT's builder optimization levels."""


def version_tuple(version: str) -> tuple[int, ...]:
    """10.3.0 -> (10, 3, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


@dataclass(frozen=True)
class BuildOptions:
    """What the user may choose; every one of them can change the engine.

    Attributes:
        batch: smallest, usual and largest number of frames in one run; None: 1, or what the graph fixes.
        workspace: MiB that a layer may use; None: from the free memory.
        level: builder optimization level, 0 (quick build) to 5 (fast engine); None: TensorRT's own.
        dla: deep learning accelerator to use, with the GPU for what it cannot do; None: the GPU alone.
        version_compatible: runs on later TensorRT of the same major version too; such an engine brings code of its
            own, so it is for trusted files only.
        hardware_compatible: runs on other GPUs from Ampere on, some of its speed lost.
    """

    batch: tuple[int, int, int] | None = None
    workspace: int | None = None
    level: int | None = None
    dla: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False

    def __post_init__(self) -> None:
        if self.batch is not None and not 1 <= self.batch[0] <= self.batch[1] <= self.batch[2]:
            raise UserError(
                f"batch: {','.join(map(str, self.batch))} is no MIN,OPT,MAX; write three numbers that do not fall, "
                "from 1 on, for example 1,4,8"
            )
        if self.workspace is not None and self.workspace < 1:
            raise UserError(
                f"workspace: {self.workspace} MiB is too little; leave it out, or give 256 or more"
            )
        if self.level is not None and self.level not in LEVELS:
            raise UserError(f"level: {self.level} is no builder optimization level; choose 0 to 5")


@dataclass(frozen=True)
class EngineKey:
    """An engine's identity.

    Attributes:
        onnx: sha256 of the ONNX file.
        tensorrt: TensorRT's version.
        platform: operating system and processor, such as "linux-aarch64"; no option makes an engine fit another.
        gpu: the GPU's name.
        capability: its compute capability.
        multiprocessors: their number.
        precision: of the ONNX file, as the bundle names it.
        size: height and width of a frame.
        options: the user's choices.
    """

    onnx: str
    tensorrt: str
    platform: str
    gpu: str
    capability: str
    multiprocessors: int
    precision: str
    size: tuple[int, int]
    options: BuildOptions

    @property
    def stem(self) -> str:
        """The engine's file name without its suffix."""
        height, width = self.size
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        return f"{self.onnx[:12]}-trt{self.tensorrt}-{gpu}-{self.precision}-{height}x{width}"

    @property
    def place(self) -> str:
        """What it was built with and for, for messages."""
        return f"TensorRT {self.tensorrt} on {self.gpu}, {self.platform}"

    def runs_on(self, here: EngineKey) -> bool:
        """Whether this engine may be loaded where an engine built now would have the key `here`."""
        mine = (self.onnx, self.precision, self.size, self.platform)
        same = mine == (here.onnx, here.precision, here.size, here.platform)
        return same and self._version_fits(here) and self._gpu_fits(here)

    def _version_fits(self, here: EngineKey) -> bool:
        if self.options.version_compatible:  # forward only
            built, now = version_tuple(self.tensorrt), version_tuple(here.tensorrt)
            return built[0] == now[0] and built <= now
        return self.tensorrt == here.tensorrt

    def _gpu_fits(self, here: EngineKey) -> bool:
        if self.options.hardware_compatible:  # HardwareCompatibilityLevel.AMPERE_PLUS
            return version_tuple(here.capability) >= (8, 0)
        mine = (self.gpu, self.capability, self.multiprocessors)
        return mine == (here.gpu, here.capability, here.multiprocessors)

    def to_json(self) -> dict[str, Any]:
        """The key as it stands in the engine's json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> EngineKey:
        """The key that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError, UserError: it did not write this.
        """
        height, width = value["size"]
        options = dict(value["options"])
        if options["batch"] is not None:
            first, usual, last = options["batch"]
            options["batch"] = (int(first), int(usual), int(last))
        return cls(**{**value, "size": (int(height), int(width)), "options": BuildOptions(**options)})
