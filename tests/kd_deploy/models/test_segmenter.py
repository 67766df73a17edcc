"""One interface over the networks: what goes in, what comes out, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kd_deploy.config.architectures import ARCHITECTURES, Arch
from kd_deploy.models.encoders import IMAGENET_MEAN, IMAGENET_STD, normalisation
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.errors import UserError

ENCODERS = {"deeplabv3plus": "mobilenet_v2", "segformer": "mit_b0"}
LOGITS = {"unet": 1, "unetplusplus": 1, "manet": 1, "linknet": 1, "pspnet": 8, "deeplabv3": 8}
"""The stride of the logits where it is not 4."""

UNUSUAL: list[tuple[Arch, str]] = [
    ("unet", "mit_b0"),  # no features at stride 2
    ("linknet", "tu-convnext_atto"),  # neither, from timm
    (
        "upernet",
        "tu-swin_tiny_patch4_window7_224",
    ),  # channels last inside, and of one size unless told otherwise
    ("fpn", "vgg11"),  # features at stride 1 instead of the picture
    ("pspnet", "mit_b0"),
    ("deeplabv3plus", "efficientnet-b0"),  # with a classifier's layer that nothing reads
    ("segformer", "resnet18"),  # five stages
    ("segformer", "mit_b2"),
]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    torch.manual_seed(0)
    return build(request.param, ENCODERS.get(request.param, "tu-mobilenetv3_small_050"), 5).eval()


def size(segmenter: Segmenter) -> tuple[int, int]:
    """A picture of the smallest sides that the network promises to take, one of them a multiple more."""
    side = max(2 * segmenter.stride, segmenter.least)
    return side, side + segmenter.stride


def pictures(segmenter: Segmenter, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, *size(segmenter))).float()


def check_taps(segmenter: Segmenter) -> None:
    """What is declared is what comes, and what may learn is what gradients reach."""
    height, width = size(segmenter)
    outputs = segmenter.train()(pictures(segmenter), list(segmenter.taps))
    for name, tap in segmenter.taps.items():
        assert (height % tap.stride, width % tap.stride) == (0, 0)
        assert outputs.taps[name].shape == (2, tap.channels, height // tap.stride, width // tap.stride), name
    assert outputs.taps["logits"] is outputs.logits
    torch.stack([tap.square().mean() for tap in outputs.taps.values()]).sum().backward()
    for name, parameter in segmenter.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_taps_are_as_declared(arch: Arch) -> None:
    segmenter = build(arch, "resnet18", 5)
    check_taps(segmenter)
    stages = ["stage1", "stage2"] if arch == "pspnet" else ["stage1", "stage2", "stage3", "stage4"]
    assert list(segmenter.taps) == [*stages, "decoder", "logits"]
    assert segmenter.taps["decoder"].stride == segmenter.taps["logits"].stride == LOGITS.get(arch, 4)
    assert segmenter.taps["logits"].channels == 5


@pytest.mark.parametrize(("arch", "encoder"), UNUSUAL)
def test_the_taps_of_unusual_encoders(arch: Arch, encoder: str) -> None:
    check_taps(build(arch, encoder, 3))


@torch.no_grad()
def test_taps_are_given_as_asked(segmenter: Segmenter) -> None:
    images = pictures(segmenter, 1)
    assert list(segmenter(images).taps) == ["logits"]
    assert list(segmenter(images, ["stage2"]).taps) == ["stage2"]
    assert list(segmenter(images, None).taps) == list(segmenter.taps)


def test_what_no_tap_depends_on_is_frozen() -> None:
    frozen = [n for n, p in build("pspnet", "resnet18", 2).named_parameters() if not p.requires_grad]
    assert {name.split(".")[2] for name in frozen} == {"layer3", "layer4"}
    assert all(p.requires_grad for p in build("deeplabv3plus", "mobilenet_v2", 2).parameters())


def test_building_draws_nothing_but_the_weights() -> None:
    after = []
    for _ in range(2):
        torch.manual_seed(0)
        build("segformer", "mit_b0", 2)  # with stochastic depth
        after.append(torch.rand(1))
    assert after[0] == after[1]


@torch.no_grad()
def test_logits_are_the_networks_own_on_normalised_pictures(segmenter: Segmenter) -> None:
    images = pictures(segmenter)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = segmenter.network((images / 255 - mean) / std)
    torch.testing.assert_close(segmenter(images).logits, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_predict_upsamples_before_the_argmax(segmenter: Segmenter) -> None:
    images = pictures(segmenter)
    logits = segmenter(images).logits
    full = F.interpolate(logits, size=size(segmenter), mode="bilinear", align_corners=False)
    assert torch.equal(segmenter.predict(images), full.argmax(1))


@torch.no_grad()
def test_predict_takes_any_size_and_ignores_its_own_padding(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (1, 3, 50, 70)).float()
    sides = [max(segmenter.least, -(-side // segmenter.stride) * segmenter.stride) for side in (50, 70)]
    padded = segmenter.mean.repeat(1, 1, *sides)
    padded[..., :50, :70] = images
    mask = segmenter.predict(images)
    assert mask.shape == (1, 50, 70)
    assert mask.dtype == torch.int64
    assert (mask == segmenter.predict(padded)[..., :50, :70]).float().mean() > 0.999


HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("mit_b0", (IMAGENET_MEAN, IMAGENET_STD)),
        ("timm-efficientnet-b0", (IMAGENET_MEAN, IMAGENET_STD)),
        ("timm-tf_efficientnet_lite0", HALF),
        ("inceptionv4", HALF),
        ("inceptionresnetv2", HALF),
        ("xception", HALF),
        ("dpn68", None),  # as timm's of the same name and origin
        ("tu-tf_mobilenetv3_small_100", HALF),
        ("tu-resnet18.a1_in1k", (IMAGENET_MEAN, IMAGENET_STD)),
    ],
)
def test_every_encoder_has_its_own_normalisation(encoder: str, expected: Any) -> None:
    mean, std = expected or normalisation(f"tu-{encoder}")
    found = normalisation(encoder)
    assert (*found[0], *found[1]) == pytest.approx((*mean, *std))


@torch.no_grad()
def test_the_normalisation_is_the_encoders() -> None:
    segmenter = build("fpn", "tu-tf_mobilenetv3_small_minimal_100", 3).eval()
    images = pictures(segmenter)
    torch.testing.assert_close(
        segmenter(images).logits, segmenter.network(images / 127.5 - 1), rtol=1e-4, atol=1e-4
    )


def test_the_normalisation_is_no_weight(segmenter: Segmenter) -> None:
    state = segmenter.state_dict()
    assert {key.removeprefix("network.") for key in state} == segmenter.network.state_dict().keys()
    assert {buffer for buffer, _ in segmenter.named_buffers()} >= {"mean", "std"}


def test_an_unknown_encoder_has_a_neighbour() -> None:
    with pytest.raises(
        UserError, match=r"^student.encoder: .* 'mobilenet_v3' \(did you mean 'mobilenet_v2'\?"
    ):
        build("deeplabv3plus", "mobilenet_v3", 5, key="student")


def test_an_unknown_encoder_of_timms_has_a_neighbour() -> None:
    with pytest.raises(UserError, match=r"no encoder 'tu-resnet_18' \(did you mean 'tu-resnet18'\?\)"):
        build("unet", "tu-resnet_18", 5, key="student")


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("deeplabv3plus", "densenet121"),
        ("unetplusplus", "mit_b0"),
        ("deeplabv3", "tu-swin_tiny_patch4_window7_224"),  # cannot be dilated
        ("upernet", "tu-vit_tiny_patch16_224"),  # has one stride
        ("fpn", "tu-maxvit_rmlp_pico_rw_256"),  # takes one size
        ("fpn", "tu-resnet18.nobody_in1k"),
    ],
)
def test_an_encoder_that_does_not_serve_the_architecture(arch: Arch, encoder: str) -> None:
    with pytest.raises(UserError, match=rf"^teacher.encoder: {encoder} does not serve {arch} \(") as caught:
        build(arch, encoder, 5, key="teacher")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("encoder", "weights"), [("mit_b0", "imagenet"), ("tu-resnet18", True)])
def test_imagenet_weights_without_a_network(
    encoder: str, weights: str | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def offline(name: str, *, weights: str | bool | None, **_: Any) -> None:
        asked.append((name, weights))
        raise OSError("We couldn't connect to 'https://huggingface.co'\nCheck your connection")

    monkeypatch.setattr("segmentation_models_pytorch.decoders.segformer.model.get_encoder", offline)
    with pytest.raises(UserError, match=r"^student.weights: .* pass --set student.weights=none") as caught:
        build("segformer", encoder, 5, pretrained=True, key="student")
    assert asked == [(encoder, weights)]
    assert "\n" not in str(caught.value)


def test_imagenet_weights_that_there_are_not() -> None:
    with pytest.raises(
        UserError,
        match=r"^teacher.weights: there are no imagenet weights of resnext101_32x16d, only instagram, ssl, swsl; ",
    ):
        build("deeplabv3plus", "resnext101_32x16d", 5, pretrained=True, key="teacher")
    with pytest.raises(UserError, match=r"no imagenet weights of tu-botnet50ts_256; choose"):
        build("fpn", "tu-botnet50ts_256", 5, pretrained=True, key="teacher")
