"""The frozen teacher in training: an inference network, and, where views repeat, what it said of them before."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kd_deploy.config.schema import Teacher
from kd_deploy.models.segmenter import Outputs, Segmenter
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file, cannot_write, remove_temporaries

_ABANDONED = 3600.0
"""Seconds after which a view half written is a killed run's: several runs may write to one cache."""


class Guide:
    """The teacher as an inference network: folded, without gradients, in the precision that its section names.

    It runs in channels_last whatever the student does: a GPU's tensor cores want it, and on a CPU it was as often
    faster as slower (docs/results/step.md).

    Attributes:
        network: the copy that runs; the teacher that was given stays as it is.
    """

    def __init__(
        self, teacher: Segmenter, section: Teacher, taps: Sequence[str], accelerator: Accelerator
    ) -> None:
        """Place a folded copy; `section` says its precision and where its outputs are kept.

        Raises:
            UserError: the cache's folder cannot be written.
        """
        self._taps, self._device = tuple(taps), accelerator.device
        folded: Segmenter = teacher.folded().requires_grad_(False)
        self.network: Segmenter = folded.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: nn.Module = self.network
        native = self._device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self._half = native if section.precision == "auto" else section.precision == "bf16"
        self._cache = Cache(section.cache, teacher, self._half) if section.cache else None

    @property
    def refused(self) -> UserError | None:
        """What the disk said to the cache: other processes wait in this step, so it is finished first."""
        return self._cache.refused if self._cache else None

    def compile(self) -> None:
        self._run = torch.compile(self.network)  # type: ignore[assignment]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Outputs:
        """What the teacher has at the taps for pictures (B, 3, H, W) uint8 or float RGB."""
        if self._cache is None:
            return self._outputs(images)
        keys = self._cache.keys(images)
        known = [self._cache.load(key, self._taps) for key in keys]
        missing = [number for number, found in enumerate(known) if found is None]
        if missing:
            fresh = self._outputs(images[missing])
            for row, number in enumerate(missing):
                said = {tap: x[row] for tap, x in fresh.taps.items()}
                known[number] = self._cache.save(keys[number], said)
        taps = {tap: torch.stack([found[tap] for found in known if found]) for tap in self._taps}
        taps = {tap: x.to(self._device).float() for tap, x in taps.items()}
        return Outputs(taps["logits"], taps)

    def _outputs(self, images: Tensor) -> Outputs:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            images = images.float().to(memory_format=torch.channels_last)
            outputs: Outputs = self._run(images, self._taps)
        return outputs


class Cache:
    """Half-precision outputs of a teacher on disk, one file a view and tap.

    A view is known by its pixels and the teacher by its weights, so that a cache is right for every recipe: where
    views do not repeat it only grows. It pays where augmentation is off, and where several methods are compared
    with one seed, since they see the same views. The weights are those before folding, which changes nothing but
    how the outputs are rounded.
    """

    def __init__(self, folder: Path, teacher: Segmenter, half: bool) -> None:
        digest = hashlib.sha256(f"{teacher.network!r} {half}".encode())  # with dilations and strides
        normalisation = {"mean": teacher.mean, "std": teacher.std}
        for name, value in (teacher.network.state_dict() | normalisation).items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        self._folder = folder / digest.hexdigest()[:16]
        self.refused: UserError | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error
        for views in self._folder.iterdir():
            remove_temporaries(views, older_than=_ABANDONED)

    def keys(self, images: Tensor) -> list[str]:
        pixels = images.byte().contiguous().cpu().numpy()
        return [hashlib.blake2b(view.data, digest_size=20).hexdigest() for view in pixels]

    def load(self, key: str, taps: Sequence[str]) -> dict[str, Tensor] | None:
        """What is known of a view, or None where a tap is missing or damaged."""
        try:
            return {tap: torch.from_numpy(np.load(self._file(key, tap))) for tap in taps}
        except (OSError, ValueError, EOFError):
            return None

    def save(self, key: str, said: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep a view's outputs; returns them as they will be loaded, so that the first time is like the others.

        Where the disk refuses, `refused` says so. What is not finite is handed back and not kept: the loss has to
        say so.
        """
        rounded = {tap: value.half().cpu() for tap, value in said.items()}
        for tap, value in rounded.items():
            if not torch.isfinite(said[tap]).all():
                return {tap: value.cpu() for tap, value in said.items()}
            if not torch.isfinite(value).all():
                raise UserError(
                    f"teacher.cache: what the teacher has at {tap} does not fit into half precision; leave it out"
                )
        try:
            for tap, value in rounded.items():
                with atomic_file(self._file(key, tap)) as temporary:
                    temporary.write_bytes(_npy(value))
        except UserError as error:
            self.refused = error
        return rounded

    def _file(self, key: str, tap: str) -> Path:
        return self._folder / key[:2] / f"{key}-{tap}.npy"


def _npy(value: Tensor) -> bytes:
    buffer = io.BytesIO()  # numpy's own writer says less of a full disk
    np.save(buffer, value.numpy())
    return buffer.getvalue()
