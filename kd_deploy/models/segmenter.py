"""A segmentation network of any architecture behind one interface: pictures in, logits and taps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_deploy.runtime.errors import UserError

ARCHITECTURES = {"deeplabv3plus": smp.DeepLabV3Plus, "segformer": smp.Segformer}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""RGB, of pictures in 0 to 1: what torchvision's, timm's and MiT's ImageNet weights were trained with. smp's own
`get_preprocessing_params` asks the network for them."""


STAGES = ("stage1", "stage2", "stage3", "stage4")
"""An encoder's stages, at strides 4, 8, 16 and 32 unless the network dilates the last ones."""


@dataclass(frozen=True)
class Tap:
    """A place in a network that distillation terms may read: (B, channels, H / stride, W / stride)."""

    stride: int
    channels: int

    def __str__(self) -> str:
        return f"stride {self.stride}, {self.channels} channels"


@dataclass(frozen=True)
class Outputs:
    """What a network gives to the losses.

    Attributes:
        logits: (B, C, h, w) before upsampling.
        taps: every tensor that was asked for, by name.
    """

    logits: Tensor
    taps: dict[str, Tensor]


class Segmenter(nn.Module):
    """An smp network with its normalisation in front and its upsampling behind.

    Pictures are float (B, 3, H, W), RGB, 0 to 255. `network.state_dict()` is smp's own, key for key.
    """

    def __init__(self, network: smp.base.SegmentationModel, stride: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride
        """Pictures are padded to multiples of this many pixels."""
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def taps(self) -> dict[str, Tap]:
        """The taps by name: the encoder's stages, what the decoder gives to the head, and the logits."""
        encoder, head = self.network.encoder, self.network.segmentation_head[0]
        deepest = encoder.output_stride
        stages = zip(STAGES, (4, 8, 16, 32), encoder.out_channels[2:], strict=False)
        taps = {name: Tap(min(stride, deepest), channels) for name, stride, channels in stages if channels}
        return taps | {"decoder": Tap(4, head.in_channels), "logits": Tap(4, head.out_channels)}

    def forward(self, images: Tensor, taps: Sequence[str] = ("logits",)) -> Outputs:
        """Logits, and the `taps` that are asked for, of pictures whose sides are multiples of `stride`."""
        features = self.network.encoder((images - self.mean) / self.std)
        decoded = self.network.decoder(features)
        logits = self.network.segmentation_head(decoded)
        there = dict(zip(STAGES, features[2:], strict=False)) | {"decoder": decoded, "logits": logits}
        return Outputs(logits, {name: there[name] for name in taps})

    def predict(self, images: Tensor) -> Tensor:
        """Class ids (B, H, W) int64 of pictures (B, 3, H, W) of any size.

        Pictures are padded at the bottom and the right with the normalisation's mean; the logits are
        upsampled bilinearly (align_corners=False) and the padding is cut off before the argmax.
        """
        height, width = images.shape[-2:]
        x = (images - self.mean) / self.std
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            x = F.pad(x, (0, right, 0, below))
        logits = self.network(x)
        logits = F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width].argmax(dim=1)


def build(arch: str, encoder: str, num_classes: int, *, pretrained: bool = False, key: str = "") -> Segmenter:
    """An smp network by name; `pretrained` loads the encoder's ImageNet weights over the network.

    Raises:
        UserError: no such encoder for this architecture, it has no ImageNet weights, or they cannot be downloaded.
    """
    if encoder not in smp.encoders.get_encoder_names() and not encoder.startswith("tu-"):
        raise UserError(_no_such_encoder(encoder, key))
    if pretrained and not encoder.startswith("tu-"):
        _check_imagenet(encoder, key)
    try:
        network = ARCHITECTURES[arch](
            encoder_name=encoder,
            encoder_weights="imagenet" if pretrained else None,
            classes=num_classes,
            upsampling=1,  # logits stay at stride 4; `predict` upsamples
        )
    except OSError as error:
        raise UserError(
            f"{key}.weights: imagenet weights of {encoder} cannot be downloaded; where there is no network "
            f"pass --set {key}.weights=none or the path of a checkpoint"
        ) from error
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{key}.encoder: {encoder} does not serve {arch} ({error})") from error
    # Every smp decoder here ends at stride 4, so a whole number of encoder strides is what it needs.
    return Segmenter(network, stride=32 if arch == "segformer" else 16)


def _check_imagenet(encoder: str, key: str) -> None:
    there = smp.encoders.encoders[encoder]["pretrained_settings"]
    if "imagenet" not in there:
        raise UserError(
            f"{key}.weights: there are no imagenet weights of {encoder}, only {', '.join(there)}; choose another "
            f"{key}.encoder, or pass --set {key}.weights=none or the path of a checkpoint"
        )


def _no_such_encoder(encoder: str, key: str) -> str:
    close = get_close_matches(encoder, smp.encoders.get_encoder_names(), 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{key}.encoder: segmentation-models-pytorch has no encoder {encoder!r}{hint}"
