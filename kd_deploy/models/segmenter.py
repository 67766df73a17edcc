"""A segmentation network of any architecture behind one interface: pictures in, logits and taps out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kd_deploy.config.architectures import ARCHITECTURES, Arch, Architecture
from kd_deploy.models import encoders
from kd_deploy.models.encoders import RGB
from kd_deploy.models.folding import fold_batchnorm
from kd_deploy.models.hub import hub
from kd_deploy.models.segformer import FoldedDecoder, MergedDecoder
from kd_deploy.runtime.errors import UserError

STAGES = ("stage1", "stage2", "stage3", "stage4")
"""An encoder's stages, at strides 4, 8, 16 and 32 unless the network dilates or leaves out the last ones."""


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

    Attributes:
        stride: pictures are padded to multiples of this many pixels,
        least: and to this many at least.
        taps: the taps by name: the encoder's stages, what the decoder gives to the head, and the logits.
    """

    def __init__(
        self, network: smp.base.SegmentationModel, architecture: Architecture, normalisation: tuple[RGB, RGB]
    ) -> None:
        super().__init__()
        self.network = network
        self.stride = architecture.multiple
        self.least = architecture.least
        mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in normalisation)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.taps = self._dry_run()

    def _dry_run(self) -> dict[str, Tap]:
        """What a forward pass gives, found on the meta device: shapes without values or work.

        Parameters that no tap depends on (a stage that the decoder leaves out, a classifier's last layer) are
        frozen: distributed training would wait for their gradients.
        """
        side = 128  # a whole number of every stride, and enough for every architecture
        meta = {
            name: torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)
            for name, tensor in chain(self.named_parameters(), self.named_buffers())
        }
        picture = torch.empty(2, 3, side, side, device="meta")
        outputs = functional_call(self, meta, (picture, None)).taps
        reached = _leaves(outputs.values())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(meta[name] in reached)
        return {name: Tap(side // tensor.shape[-1], tensor.shape[1]) for name, tensor in outputs.items()}

    def forward(self, images: Tensor, taps: Sequence[str] | None = ("logits",)) -> Outputs:
        """Logits, and the `taps` that are asked for (None: all), of pictures whose sides are multiples of `stride`."""
        features = self.network.encoder((images - self.mean) / self.std)
        decoded = self.network.decoder(features)
        logits = self.network.segmentation_head(decoded)
        there = dict(zip(STAGES, features[2:], strict=False)) | {"decoder": decoded, "logits": logits}
        return Outputs(logits, {name: there[name] for name in (there if taps is None else taps)})

    def predict(self, images: Tensor) -> Tensor:
        """Class ids (B, H, W) int64 of pictures (B, 3, H, W) of any size."""
        return self.logits(images).argmax(dim=1)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, C, H, W) of pictures (B, 3, H, W) of any size, at that size.

        They are upsampled bilinearly (align_corners=False), and what `prepared` padded is cut off.
        """
        height, width = images.shape[-2:]
        x = self.prepared(images)
        logits: Tensor = self.network(x)
        if logits.shape[-2:] != x.shape[-2:]:
            logits = F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def prepared(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) as the network takes them: normalised, padded at the bottom and the right."""
        x = (images - self.mean) / self.std
        below, right = (self._padding(side) for side in images.shape[-2:])
        return F.pad(x, (0, right, 0, below)) if below or right else x

    def _padding(self, side: int) -> int:
        return max(-side % self.stride, self.least - side)

    def folded(self) -> Segmenter:
        """A copy for inference alone, with the constant products of weights multiplied out; other keys, same masks."""
        copy = deepcopy(self).eval()
        if isinstance(copy.network.decoder, MergedDecoder):
            copy.network.decoder = FoldedDecoder(copy.network.decoder)
        picture = torch.empty(2, 3, 128, 128, dtype=self.mean.dtype, device="meta")
        fold_batchnorm(copy, lambda twin: twin(picture, None).taps.values())
        return copy


def _leaves(outputs: Iterable[Tensor]) -> set[Tensor]:
    """The tensors that gradients of the outputs would arrive at."""
    leaves: set[Tensor] = set()
    open_ = [output.grad_fn for output in outputs if output.grad_fn is not None]
    seen = set(open_)
    while open_:
        node = open_.pop()
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        before = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(before)
        open_.extend(before)
    return leaves


def build(
    arch: Arch,
    encoder: str,
    num_classes: int,
    *,
    pretrained: bool = False,
    key: str = "",
    options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """An smp network by name; `pretrained` loads the encoder's ImageNet weights over the network.

    Args:
        key: the recipe's section that asks for it, for messages.
        options: keyword arguments of smp's class, over those of `ARCHITECTURES`.

    Raises:
        UserError: no such encoder for this architecture, it has no ImageNet weights, or they cannot be downloaded.
    """
    encoders.check(encoder, pretrained=pretrained, key=key)
    architecture = ARCHITECTURES[arch]
    try:
        with hub() if pretrained else nullcontext():
            network = getattr(smp, architecture.smp)(
                encoder_name=encoder,
                encoder_weights=_weights(encoder) if pretrained else None,
                classes=num_classes,
                **encoders.options(encoder),
                **architecture.options,
                **(options or {}),
            )
        if isinstance(network, smp.Segformer):
            network.decoder = MergedDecoder(network.decoder)
        return Segmenter(network, architecture, encoders.normalisation(encoder))
    except OSError as error:
        raise UserError(
            f"{key}.weights: imagenet weights of {encoder} cannot be downloaded; where there is no network "
            f"pass --set {key}.weights=none or the path of a checkpoint"
        ) from error
    except _UNFIT as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}.encoder: {encoder} does not serve {arch} ({reason})") from error


_UNFIT = (
    ValueError,
    TypeError,
    NotImplementedError,
    RuntimeError,
    AssertionError,
    AttributeError,
    LookupError,
)
"""How smp and timm say that an encoder cannot be dilated, has other strides or takes no other sizes."""


def _weights(encoder: str) -> str | bool:
    return True if encoder.startswith("tu-") else "imagenet"  # timm's variant stands in the encoder's name
