"""Encoders by name, smp's own and timm's behind `tu-`: whether they exist, and what their weights were trained on."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import segmentation_models_pytorch as smp
import timm

from kd_deploy.runtime.errors import UserError

RGB = tuple[float, ...]

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
"""RGB, of pictures in 0 to 1."""

_HALF: tuple[RGB, RGB] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DPN: tuple[RGB, RGB] = (124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3  # timm's for dpn68
_OTHERS = {
    "dpn": _DPN,
    "inception": _HALF,
    "xception": _HALF,
    "timm-tf_efficientnet_lite": _HALF,
}
"""Where smp's weights are not of ImageNet's usual mean and deviation, by how the encoder's name begins. smp 0.5 moved
these numbers to its hub; here are those of its `encoders/_legacy_pretrained_settings.py`."""


def normalisation(encoder: str) -> tuple[RGB, RGB]:
    """Mean and standard deviation that the encoder's ImageNet weights were trained with, without asking any hub."""
    if encoder.startswith("tu-"):
        settings = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (settings.mean, settings.std) if settings else (IMAGENET_MEAN, IMAGENET_STD)
    matching = (values for start, values in _OTHERS.items() if encoder.startswith(start))
    return next(matching, (IMAGENET_MEAN, IMAGENET_STD))


def options(encoder: str) -> dict[str, Any]:
    """What a timm encoder must be told besides its name."""
    # Swin refuses every size but the one it was trained at, unless told that windows may be padded.
    return {"strict_img_size": False} if encoder.startswith("tu-swin") else {}


def check(encoder: str, *, pretrained: bool, key: str) -> None:
    """Refuse an encoder that does not exist, and `pretrained` where nobody published ImageNet weights.

    Raises:
        UserError: what is wrong with the recipe's section `key`.
    """
    if not _exists(encoder):
        names = [*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models())]
        close = get_close_matches(encoder, names, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UserError(f"{key}.encoder: segmentation-models-pytorch has no encoder {encoder!r}{hint}")
    there = _weights(encoder)
    if pretrained and "imagenet" not in there:
        only = f", only {', '.join(there)}" if there else ""
        raise UserError(
            f"{key}.weights: there are no imagenet weights of {encoder}{only}; choose another {key}.encoder, or pass "
            f"--set {key}.weights=none or the path of a checkpoint"
        )


def _exists(encoder: str) -> bool:
    if encoder.startswith("tu-"):
        return bool(timm.is_model(encoder.removeprefix("tu-")))
    return encoder in smp.encoders.get_encoder_names()


def _weights(encoder: str) -> list[str]:
    """The names of the published weights; timm's are chosen by the encoder's name, and stand here as imagenet."""
    if encoder.startswith("tu-"):
        return ["imagenet"] if timm.models.is_model_pretrained(encoder.removeprefix("tu-")) else []
    return list(smp.encoders.encoders[encoder]["pretrained_settings"])
