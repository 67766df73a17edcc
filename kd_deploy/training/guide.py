"""The frozen teacher in training: an inference network, and, where views repeat, what it said of them before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kd_deploy.config.schema import Teacher
from kd_deploy.models.segmenter import Outputs, Segmenter
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file, cannot_write


class Guide:
    """The teacher: in eval mode, without gradients, in the precision that its section names."""

    def __init__(
        self, teacher: Segmenter, section: Teacher, taps: Sequence[str], accelerator: Accelerator
    ) -> None:
        """Place the teacher; `section` says its precision and where its outputs are kept.

        Raises:
            UserError: the cache's folder cannot be written.
        """
        self.network = teacher.to(accelerator.device).eval().requires_grad_(False)
        self._run: nn.Module = self.network
        self._taps, self._device = tuple(taps), accelerator.device
        native = self._device.type == "cuda" and torch.cuda.is_bf16_supported()
        self._half = native if section.precision == "auto" else section.precision == "bf16"
        self._cache = Cache(section.cache, teacher, self._half) if section.cache else None

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
        taps = {tap: torch.stack([found[tap].float() for found in known if found]) for tap in self._taps}
        taps = {tap: x.to(self._device) for tap, x in taps.items()}
        return Outputs(taps["logits"], taps)

    def _outputs(self, images: Tensor) -> Outputs:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            outputs: Outputs = self._run(images.float(), self._taps)
        return outputs


class Cache:
    """Half-precision outputs of a teacher on disk, one file a view and tap.

    A view is known by its pixels and the teacher by its weights, so that a cache is right for every recipe: where
    views do not repeat it only grows. It pays where augmentation is off, and where several methods are compared
    with one seed, since they see the same views.
    """

    def __init__(self, folder: Path, teacher: Segmenter, half: bool) -> None:
        digest = hashlib.sha256(f"{teacher.network!r} {half}".encode())  # with dilations and strides
        normalisation = {"mean": teacher.mean, "std": teacher.std}
        for name, value in (teacher.network.state_dict() | normalisation).items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        self._folder = folder / digest.hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._folder, error) from error

    def keys(self, images: Tensor) -> list[str]:
        return [
            hashlib.blake2b(image.byte().cpu().numpy().tobytes(), digest_size=20).hexdigest()
            for image in images
        ]

    def load(self, key: str, taps: Sequence[str]) -> dict[str, Tensor] | None:
        """What is known of a view, or None where a tap is missing or damaged."""
        try:
            return {tap: torch.from_numpy(np.load(self._file(key, tap))) for tap in taps}
        except (OSError, ValueError, EOFError):
            return None

    def save(self, key: str, said: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keep a view's outputs; returns them as they will be loaded, so that the first time is like the others.

        What is not finite is handed back and not kept: the loss has to say so.
        """
        rounded = {tap: value.half().cpu() for tap, value in said.items()}
        for tap, value in rounded.items():
            if not torch.isfinite(said[tap]).all():
                return {tap: value.cpu() for tap, value in said.items()}
            if not torch.isfinite(value).all():
                raise UserError(
                    f"teacher.cache: what the teacher has at {tap} does not fit into half precision; leave it out"
                )
        for tap, value in rounded.items():
            with atomic_file(self._file(key, tap)) as temporary, temporary.open("wb") as file:
                np.save(file, value.numpy())
        return rounded

    def _file(self, key: str, tap: str) -> Path:
        return self._folder / key[:2] / f"{key}-{tap}.npy"
