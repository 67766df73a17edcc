"""One way to run a segmentation model, whatever is underneath."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import INSTALL, MissingComponentError, UserError

BACKENDS = {
    "onnxruntime-cpu": "kd_deploy.runtime.backends.onnxruntime_cpu",
    "onnxruntime-cuda": "kd_deploy.runtime.backends.onnxruntime_cuda",
    "openvino": "kd_deploy.runtime.backends.openvino",
    "tensorrt": "kd_deploy.runtime.backends.tensorrt",
    "torch": "kd_deploy.export.torch_backend",  # the reference; imported only when it is asked for
}
"""Backend name -> the module whose `open_backend(bundle, precision, threads)` returns a `Model`."""


AnyModel = TypeVar("AnyModel", bound="Model")


@dataclass(frozen=True)
class Description:
    """What runs, and where; it stands beside every number."""

    backend: str
    precision: str
    device: str
    versions: dict[str, str]


class CannotRunError(UserError):
    """A model failed while it ran, as a rule for want of memory.

    Attributes:
        model: the one that failed.
    """

    def __init__(self, model: Model, batch: int, error: BaseException) -> None:
        named = model.describe()
        said = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "try a smaller --batch" if batch > 1 else "close other programs, or try another --precision"
        super().__init__(
            f"{named.backend} {named.precision}: cannot run a batch of {batch} ({said}); {remedy}"
        )
        self.model = model


class Model(ABC):
    """Frames in, masks out. A backend implements `describe`, `_run` and `_close`.

    Attributes:
        size: height and width in pixels of the frames it takes; None: of any.
        batch: frames in one run of what is underneath; None: any number.
        timed: set it to have runs timed by the device; a backend without a clock there ignores it.
        device_ms: milliseconds of the last run by the device's clock; None: not timed.
        errors: what its library raises beside RuntimeError and MemoryError when a run fails.
    """

    size: tuple[int, int] | None
    batch: int | None = None
    timed: bool = False
    device_ms: float | None = None
    errors: tuple[type[Exception], ...] = ()
    _closed: bool = False

    @abstractmethod
    def describe(self) -> Description: ...

    @abstractmethod
    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]: ...

    def _run_into(self, frames: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
        """As `_run`, into `masks`; a backend that can write there itself saves the copy."""
        masks[:] = self._run(frames)

    @abstractmethod
    def _close(self) -> None:
        """Free what the backend holds; called once at most."""

    def close(self) -> None:
        """Free what the backend holds; the model cannot run afterwards. It may be called again."""
        if not self._closed:
            self._closed = True
            self._close()

    def run(self, frames: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Segment a batch.

        Args:
            frames: (N, H, W, 3) uint8, BGR, H and W as in `size` where it is given.
            out: (N, H, W) uint8, contiguous: the masks are written there, so that no call allocates. The CPU's
                backends write there themselves, without a copy.

        Returns:
            (N, H, W) uint8 class ids; `out` where it is given.

        Raises:
            UserError: the frames or `out` have another shape or type, or the model is closed.
            CannotRunError: the backend fails, as a rule for want of memory.
        """
        if self._closed:
            raise UserError("model: is closed; open it again with open_model")
        expected = (*(self.size or frames.shape[1:3]), 3)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != expected or not len(frames):
            height, width = self.size or ("H", "W")
            raise UserError(
                f"frames: expected uint8 (N, {height}, {width}, 3) in BGR, got "
                f"{frames.dtype} {frames.shape}; resize them, or export the bundle with another --size"
            )
        if out is not None:
            _check_out(out, frames.shape[:3])
        with self.guarded(len(frames)):
            return self._run_parts(np.ascontiguousarray(frames), out)

    @contextmanager
    def guarded(self, batch: int) -> Iterator[None]:
        """Make one line, a CannotRunError, of what fails in the block while `batch` frames are prepared or run."""
        errors: tuple[type[Exception], ...] = (RuntimeError, MemoryError, *self.errors)
        try:
            yield
        except errors as error:
            raise CannotRunError(self, batch, error) from error

    def _run_parts(self, frames: NDArray[np.uint8], out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Run in parts of the batch that is fixed, if it is; the last one is filled up."""
        if self.batch is None:
            if out is None:
                return self._run(frames)
            self._run_into(frames, out)
            return out
        masks = np.empty(frames.shape[:3], np.uint8) if out is None else out
        for first in range(0, len(frames), self.batch):
            part = frames[first : first + self.batch]
            if missing := self.batch - len(part):
                padded = np.concatenate((part, np.repeat(part[-1:], missing, axis=0)))
                masks[first:] = self._run(padded)[: len(part)]
            else:
                self._run_into(part, masks[first : first + self.batch])
        return masks

    def __enter__(self: AnyModel) -> AnyModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_out(out: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if out.dtype != np.uint8 or out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise UserError(
            f"out: expected contiguous, writeable uint8 {shape}, got {out.dtype} {out.shape}; make it with "
            f"numpy.empty({shape}, numpy.uint8)"
        )


def open_model(
    bundle: Bundle | str | Path,
    *,
    backend: str = "onnxruntime-cpu",
    precision: str = "fp32",
    threads: int | None = None,
) -> Model:
    """Open a bundle with a backend; what was asked for is used, or this fails.

    Args:
        bundle: an opened bundle, or its folder.
        backend: one of `BACKENDS`.
        precision: one that the bundle holds (fp32, fp16, int8, int8-cpu ...).
        threads: processor threads of a backend that computes on the CPU; None: its own choice.

    Raises:
        UserError: no such backend or precision, or the bundle is damaged.
        MissingComponentError: the backend's library is not installed.
    """
    module = _module(backend)
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(Path(bundle))
    model: Model = module.open_backend(bundle, precision, threads)
    return model


def precisions(backend: str, bundle: Bundle) -> list[str]:
    """The precisions of a bundle that a backend can run, as its module's `precisions(bundle)` says; without one, all.

    Raises:
        UserError: no such backend.
        MissingComponentError: the backend's library is not installed.
    """
    own = getattr(_module(backend), "precisions", None)
    return list(own(bundle) if own else bundle.manifest["models"])


def _module(backend: str) -> ModuleType:
    if backend not in BACKENDS:
        raise UserError(f"backend: no {backend!r}; choose one of {', '.join(BACKENDS)}")
    try:
        return importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        raise MissingComponentError(f"{backend}: cannot be imported ({error}); {INSTALL}") from error
