"""Networks whose masks say something although nobody trained them."""

from __future__ import annotations

import pytest
import torch

from kd_deploy.config.architectures import Arch
from kd_deploy.models.segmenter import Segmenter, build


@pytest.fixture(
    scope="package",
    params=[("deeplabv3plus", "mobilenet_v2"), ("segformer", "mit_b0")],
    ids=lambda student: student[0],
)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """Both students, random, of 7 classes."""
    return speaking(*request.param)


def speaking(arch: Arch, encoder: str) -> Segmenter:
    """A random network of 7 classes, each class's logits brought to mean 0 and deviation 1."""
    torch.manual_seed(0)
    built = build(arch, encoder, 7).eval()
    head = built.network.get_submodule("segmentation_head.0")
    with torch.no_grad():
        logits = built(torch.randint(0, 256, (2, 3, 96, 128)).float()).logits
        mean, deviation = (f((0, 2, 3)) for f in (logits.mean, logits.std))
        head.bias.copy_((head.bias - mean) / deviation)
        head.weight.div_(deviation.view(-1, 1, 1, 1))
    return built
