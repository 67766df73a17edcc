"""One interface over the networks: what goes in, what comes out, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.errors import UserError

NETWORKS = [
    ("deeplabv3plus", "mobilenet_v2", 16, 4),
    ("segformer", "mit_b0", 32, 4),
]
"""Architecture, encoder, what sides must be a multiple of, and the stride of the logits."""


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network[0])
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    arch, encoder, stride, logit_stride = request.param
    torch.manual_seed(0)
    built = build(arch, encoder, 5).eval()
    assert built.stride == stride
    with torch.no_grad():
        assert built(torch.zeros(2, 3, 64, 96)).logits.shape == (2, 5, 64 // logit_stride, 96 // logit_stride)
    return built


@torch.no_grad()
def test_logits_are_the_networks_own_on_normalised_pictures(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 96)).float()
    outputs = segmenter(images)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = segmenter.network((images / 255 - mean) / std)
    torch.testing.assert_close(outputs.logits, expected, rtol=1e-4, atol=1e-4)
    assert outputs.taps["logits"] is outputs.logits


@torch.no_grad()
def test_the_taps_are_as_declared(segmenter: Segmenter) -> None:
    declared = segmenter.taps
    assert list(declared) == ["stage1", "stage2", "stage3", "stage4", "decoder", "logits"]
    outputs = segmenter(torch.zeros(2, 3, 64, 96), list(declared))
    for name, tap in declared.items():
        assert outputs.taps[name].shape == (2, tap.channels, 64 // tap.stride, 96 // tap.stride), name
    assert outputs.taps["logits"] is outputs.logits
    assert list(segmenter(torch.zeros(2, 3, 64, 96), ["stage2"]).taps) == ["stage2"]


@torch.no_grad()
@pytest.mark.parametrize(("arch", "encoder"), [("deeplabv3plus", "resnet18"), ("segformer", "mit_b2")])
def test_a_teachers_taps_are_as_declared(arch: str, encoder: str) -> None:
    teacher = build(arch, encoder, 3).eval()
    outputs = teacher(torch.zeros(1, 3, 64, 64), list(teacher.taps))
    found = {name: (64 // x.shape[-1], x.shape[1]) for name, x in outputs.taps.items()}
    assert found == {name: (tap.stride, tap.channels) for name, tap in teacher.taps.items()}


@torch.no_grad()
def test_predict_upsamples_before_the_argmax(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 96)).float()
    full = F.interpolate(segmenter(images).logits, size=(64, 96), mode="bilinear", align_corners=False)
    assert torch.equal(segmenter.predict(images), full.argmax(1))


@torch.no_grad()
def test_predict_takes_any_size_and_ignores_its_own_padding(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (1, 3, 50, 70)).float()
    padded = segmenter.mean.expand(1, 3, 64, 96).clone()
    padded[..., :50, :70] = images
    mask = segmenter.predict(images)
    assert mask.shape == (1, 50, 70)
    assert mask.dtype == torch.int64
    assert (mask == segmenter.predict(padded)[..., :50, :70]).float().mean() > 0.999


def test_the_normalisation_is_no_weight(segmenter: Segmenter) -> None:
    state = segmenter.state_dict()
    assert {key.removeprefix("network.") for key in state} == segmenter.network.state_dict().keys()
    assert {buffer for buffer, _ in segmenter.named_buffers()} >= {"mean", "std"}


def test_an_unknown_encoder_has_a_neighbour() -> None:
    with pytest.raises(
        UserError, match=r"^student.encoder: .* 'mobilenet_v3' \(did you mean 'mobilenet_v2'\?"
    ):
        build("deeplabv3plus", "mobilenet_v3", 5, key="student")


def test_an_encoder_that_does_not_serve_the_architecture() -> None:
    with pytest.raises(
        UserError, match=r"^teacher.encoder: densenet121 does not serve deeplabv3plus \("
    ) as caught:
        build("deeplabv3plus", "densenet121", 5, key="teacher")
    assert "\n" not in str(caught.value)


def test_imagenet_weights_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def offline(name: str, *, weights: str | None, **_: Any) -> None:
        asked.append((name, weights))
        raise OSError("We couldn't connect to 'https://huggingface.co'\nCheck your connection")

    monkeypatch.setattr("segmentation_models_pytorch.decoders.segformer.model.get_encoder", offline)
    with pytest.raises(UserError, match=r"^student.weights: .* pass --set student.weights=none") as caught:
        build("segformer", "mit_b0", 5, pretrained=True, key="student")
    assert asked == [("mit_b0", "imagenet")]
    assert "\n" not in str(caught.value)


def test_imagenet_weights_that_there_are_not() -> None:
    with pytest.raises(
        UserError,
        match=r"^teacher.weights: there are no imagenet weights of resnext101_32x16d, only instagram, ssl, swsl; ",
    ):
        build("deeplabv3plus", "resnext101_32x16d", 5, pretrained=True, key="teacher")
