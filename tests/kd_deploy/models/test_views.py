"""Views of a picture against a plain computation, and what each of them may not change."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kd_deploy.config.views import WHOLE, Views
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.models.views import predict

CLASSES = 4
HEIGHT, WIDTH = 50, 70


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """Random, with a head that lets no class outshine the others: a mask of one class would prove nothing."""
    torch.manual_seed(0)
    built = build("deeplabv3plus", "mobilenet_v2", CLASSES).eval()
    head = built.network.get_submodule("segmentation_head.0")
    with torch.no_grad():
        mean = built.logits(torch.randint(0, 256, (1, 3, HEIGHT, WIDTH)).float()).mean((0, 2, 3))
        head.bias.sub_(mean)
    return built


class Stub:
    """A network of one layer; it remembers what it saw."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        self.layer, self.seen = layer, list[Tensor]()
        self.taps = {"logits": SimpleNamespace(channels=CLASSES)}

    def logits(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return self.layer(images)


def stub(kernel: int) -> Any:
    """Logits that depend on `kernel` pixels around each, and on where the picture ends."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, CLASSES, kernel, padding="same").double().requires_grad_(False)
    return Stub(layer)


def pictures(batch: int = 2) -> Tensor:
    torch.manual_seed(1)
    return 255 * torch.rand(batch, 3, HEIGHT, WIDTH, dtype=torch.float64)


def slid(network: Any, images: Tensor, window: tuple[int, int], stride: tuple[int, int]) -> NDArray[Any]:
    """The mean logits, window by window and pixel by pixel."""
    height, width = min(window[0], images.shape[2]), min(window[1], images.shape[3])
    found: dict[tuple[int, int], list[NDArray[Any]]] = {}
    top = 0
    while True:
        top, left = min(top, images.shape[2] - height), 0
        while True:
            left = min(left, images.shape[3] - width)
            logits = network.logits(images[:, :, top : top + height, left : left + width]).numpy()
            for y, x in np.ndindex(height, width):
                found.setdefault((top + y, left + x), []).append(logits[:, :, y, x])
            if left + width == images.shape[3]:
                break
            left += stride[1]
        if top + height == images.shape[2]:
            break
        top += stride[0]
    mean = np.empty((len(images), CLASSES, *images.shape[2:]))
    for (y, x), values in found.items():
        mean[:, :, y, x] = np.mean(values, axis=0)
    return mean


@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((20, 30), (13, 20)),
        ((20, 30), (20, 30)),
        ((25, 35), (25, 35)),
        ((64, 30), (20, 7)),
        ((50, 69), (1, 1)),
    ],
)
def test_windows_are_a_plain_mean(window: tuple[int, int], stride: tuple[int, int]) -> None:
    images, views = pictures(), Views(window=window, stride=stride)
    expected, network = slid(stub(5), images, window, stride), stub(5)
    assert (predict(network, images, views).numpy() == expected.argmax(1)).all()
    sizes = {tuple(seen.shape[-2:]) for seen in network.seen}
    assert sizes == {(min(window[0], HEIGHT), min(window[1], WIDTH))}


def test_windows_change_the_mask() -> None:
    small = predict(stub(9), pictures(), Views(window=(12, 12)))
    assert (small != predict(stub(9), pictures(), WHOLE)).any()


def test_scales_and_flips_are_a_mean_of_probabilities() -> None:
    images, views = pictures(), Views(window=(30, 40), stride=(20, 40), scales=(0.5, 1.0, 1.5), flip=True)
    total = np.zeros((2, CLASSES, HEIGHT, WIDTH))
    for size in ((25, 35), (50, 70), (75, 105)):
        shrinks = size[0] < HEIGHT
        x = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)
        for mirrored in (False, True):
            logits = torch.tensor(slid(stub(5), x.flip(3) if mirrored else x, (30, 40), (20, 40)))
            logits = logits.flip(3) if mirrored else logits
            back = F.interpolate(logits, (HEIGHT, WIDTH), mode="bilinear", align_corners=False).numpy()
            powers = np.exp(back - back.max(1, keepdims=True))
            total += powers / powers.sum(1, keepdims=True)
    assert (predict(stub(5), images, views).numpy() == total.argmax(1)).all()


@pytest.mark.parametrize("scale", [0.3, 0.75, 1.7])
def test_a_scale_is_rounded_to_whole_pixels(scale: float) -> None:
    network = stub(1)
    assert predict(network, pictures(), Views(scales=(scale,))).shape == (2, HEIGHT, WIDTH)
    assert network.seen[0].shape[-2:] == (int(HEIGHT * scale + 0.5), int(WIDTH * scale + 0.5))


@pytest.mark.parametrize(
    "views", [Views(window=(17, 23)), Views(flip=True), Views(window=(8, 99), stride=(3, 5), flip=True)]
)
def test_a_network_of_single_pixels_sees_the_same_in_every_view(views: Views) -> None:
    images = pictures()
    assert torch.equal(predict(stub(1), images, views), predict(stub(1), images, WHOLE))


@torch.no_grad()
def test_one_view_of_the_whole_is_the_networks_own_path(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (1, 3, HEIGHT, WIDTH)).float()
    calls: list[Tensor] = []
    hook = segmenter.network.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0]))
    own, whole = segmenter.predict(images), predict(segmenter, images, WHOLE)
    hook.remove()
    assert torch.equal(own, whole)
    assert len(calls) == 2
    assert torch.equal(*calls)
    assert torch.equal(own, segmenter.logits(images).argmax(1))


@torch.no_grad()
@pytest.mark.parametrize("window", [(HEIGHT, WIDTH), (500, 500)])
def test_a_window_as_large_as_the_picture_is_the_whole(segmenter: Segmenter, window: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH)).float()
    assert torch.equal(predict(segmenter, images, Views(window=window)), segmenter.predict(images))


@torch.no_grad()
def test_with_a_flip_a_mirrored_picture_has_the_mirrored_mask(segmenter: Segmenter) -> None:
    images = torch.randint(0, 256, (1, 3, HEIGHT, WIDTH)).float()
    assert not torch.equal(segmenter.predict(images.flip(3)), segmenter.predict(images).flip(2))
    for views in (Views(flip=True), Views(flip=True, window=(32, 32))):
        mirrored = predict(segmenter, images.flip(3), views)
        assert torch.equal(mirrored, predict(segmenter, images, views).flip(2))


class Peak(TorchDispatchMode):
    """Counts how many tensors of full-size scores are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, Any] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.shape[1:] == (CLASSES, HEIGHT, WIDTH):
            key = result.untyped_storage()._cdata
            self.alive[key] = weakref.ref(result)
            self.alive = {key: held for key, held in self.alive.items() if held() is not None}
            self.most = max(self.most, len(self.alive))
        return result


def test_more_views_hold_no_more_scores_at_once() -> None:
    most = []
    for scales in ((1.0, 0.5), (1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1)):
        with Peak() as peak:
            predict(stub(1), pictures(), Views(scales=scales))
        most.append(peak.most)
    assert most[0] == most[1] <= 3
