"""One way to run a segmentation model, whatever is underneath."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import INSTALL, MissingComponentError, UserError

BACKENDS = {
    "onnxruntime-cpu": "kd_deploy.runtime.backends.onnxruntime_cpu",
    "tensorrt": "kd_deploy.runtime.backends.tensorrt",
    "torch": "kd_deploy.export.torch_backend",  # the reference; imported only when it is asked for
}
"""Backend name -> the module whose `open_backend(bundle, precision)` returns a `Model`."""


AnyModel = TypeVar("AnyModel", bound="Model")


@dataclass(frozen=True)
class Description:
    """What runs, and where; it stands beside every number."""

    backend: str
    precision: str
    device: str
    versions: dict[str, str]


class Model(ABC):
    """Frames in, masks out. A backend implements `describe`, `_run` and `close`.

    Attributes:
        size: height and width in pixels of the frames it takes; None: of any.
        batch: frames in one run of what is underneath; None: any number.
    """

    size: tuple[int, int] | None
    batch: int | None = None

    @abstractmethod
    def describe(self) -> Description: ...

    @abstractmethod
    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]: ...

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds; the model cannot run afterwards."""

    def run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Segment a batch.

        Args:
            frames: (N, H, W, 3) uint8, BGR, H and W as in `size` where it is given.

        Returns:
            (N, H, W) uint8 class ids.

        Raises:
            UserError: the frames have another shape or type.
        """
        expected = (*(self.size or frames.shape[1:3]), 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != expected or not len(frames):
            height, width = self.size or ("H", "W")
            raise UserError(
                f"frames: expected uint8 (N, {height}, {width}, 3) in BGR, got "
                f"{frames.dtype} {frames.shape}; resize them, or export the bundle with another --size"
            )
        if self.batch is None:
            return self._run(frames)
        missing = -len(frames) % self.batch
        padded = np.concatenate((frames, np.repeat(frames[-1:], missing, axis=0))) if missing else frames
        parts = [self._run(part) for part in np.split(padded, len(padded) // self.batch)]
        return np.concatenate(parts)[: len(frames)]

    def __enter__(self: AnyModel) -> AnyModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(
    bundle: Bundle | str | Path, *, backend: str = "onnxruntime-cpu", precision: str = "fp32"
) -> Model:
    """Open a bundle with a backend; what was asked for is used, or this fails.

    Raises:
        UserError: no such backend or precision, or the bundle is damaged.
        MissingComponentError: the backend's library is not installed.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend: no {backend!r}; choose one of {', '.join(BACKENDS)}")
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    try:
        module = importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        raise MissingComponentError(f"{backend}: cannot be imported ({error}); {INSTALL}") from error
    model: Model = module.open_backend(bundle, precision)
    return model
