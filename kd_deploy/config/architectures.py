"""The architectures that a recipe may name, and what each asks of a picture. No torch here: recipes read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Arch = Literal[
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
]


@dataclass(frozen=True)
class Architecture:
    """A network of segmentation-models-pytorch.

    Attributes:
        smp: its class there.
        multiple: what the sides of a picture must be multiples of, in pixels; else it fails, or taps have no stride.
        options: keyword arguments of that class, where smp's defaults are not wanted.
        least: what the sides must be at least, in pixels: encoders of stride 32, and MiT's attention, need as much.
    """

    smp: str
    multiple: int
    options: dict[str, Any] = field(default_factory=dict)
    least: int = 32


_NOT_UPSAMPLED = {"upsampling": 1}  # logits stay at the head's stride; the network's user upsamples

ARCHITECTURES: dict[Arch, Architecture] = {
    "unet": Architecture("Unet", 32),
    "unetplusplus": Architecture("UnetPlusPlus", 32),
    "manet": Architecture("MAnet", 32),
    "linknet": Architecture("Linknet", 32),
    "fpn": Architecture("FPN", 32, _NOT_UPSAMPLED),
    "pspnet": Architecture(
        "PSPNet", 8, _NOT_UPSAMPLED
    ),  # smp's ends at stride 8, after two of the four stages
    "deeplabv3": Architecture("DeepLabV3", 8, _NOT_UPSAMPLED),
    "deeplabv3plus": Architecture("DeepLabV3Plus", 16, _NOT_UPSAMPLED),
    "pan": Architecture("PAN", 16, _NOT_UPSAMPLED, least=128),  # its attention halves stride 16 three times
    "upernet": Architecture("UPerNet", 32, _NOT_UPSAMPLED),
    "segformer": Architecture("Segformer", 32, _NOT_UPSAMPLED),
}
