from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kd_deploy.distill.methods.mgd import MGD
from tests.kd_deploy.distill.reference import Array, images, mean
from tests.kd_deploy.distill.tester import FeatureLossTester, WithoutLabels


def weights(student: int, teacher: int) -> dict[str, Array]:
    """Of MGD's three convolutions, by the names of its parameters; the float32 numbers in float64."""
    rng = np.random.default_rng(student)
    shapes = {
        "align.weight": (teacher, student, 1, 1),
        "align.bias": (teacher,),
        "generate.0.weight": (teacher, teacher, 3, 3),
        "generate.0.bias": (teacher,),
        "generate.2.weight": (teacher, teacher, 3, 3),
        "generate.2.bias": (teacher,),
    }
    return {
        name: rng.normal(0, 0.3, shape).astype(np.float32).astype(np.float64)
        for name, shape in shapes.items()
    }


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """(C,h,w) with zeros around it."""
    radius = kernel.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (radius, radius), (radius, radius)))
    y = np.zeros((len(kernel), *x.shape[1:]))
    for i, j in np.ndindex(x.shape[1:]):
        window = padded[:, i : i + 2 * radius + 1, j : j + 2 * radius + 1]
        y[:, i, j] = kernel.reshape(len(kernel), -1) @ window.ravel() + bias
    return y


def reference(student: Array, teacher: Array, labels: Any) -> float:
    """Without a random mask; what is ignored is hidden, and costs nothing."""
    w = weights(student.shape[1], teacher.shape[1])
    losses = []
    for fs, ft, valid in images(student, teacher, labels):
        x = convolve(np.where(valid, fs, 0), w["align.weight"], w["align.bias"]) * valid
        x = np.maximum(convolve(x, w["generate.0.weight"], w["generate.0.bias"]), 0)
        x = convolve(x, w["generate.2.weight"], w["generate.2.bias"])
        losses.append(float(np.sum((x - ft)[:, valid] ** 2)))
    return mean(losses)


def unmasked(student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
    channels = student.shape[1], teacher.shape[1]
    module = MGD(*channels, mask_ratio=0)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in weights(*channels).items()})
    return module.to(torch.promote_types(student.dtype, torch.float32))(student, teacher, labels)


class TestMGD(WithoutLabels, FeatureLossTester):
    loss = staticmethod(unmasked)
    reference = staticmethod(reference)


def case() -> tuple[MGD, Tensor, Tensor]:
    torch.manual_seed(0)
    return MGD(3, 5), torch.randn(2, 3, 48, 64), torch.randn(2, 5, 48, 64)


def test_every_parameter_gets_a_gradient() -> None:
    module, student, teacher = case()
    module(student, teacher).backward()
    names = [name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert names == list(weights(3, 5))


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.75, 1.0])
def test_the_share_of_hidden_positions(ratio: float) -> None:
    module, student, teacher = case()
    module.mask_ratio = ratio
    seen: list[Tensor] = []
    module.generate.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for _ in range(2):
        module(student, teacher)
    hidden = torch.cat([(x == 0).all(1) for x in seen])
    assert torch.equal(hidden, torch.cat([(x == 0).any(1) for x in seen]))  # all channels, or none
    for image in hidden:
        assert image.float().mean().item() == pytest.approx(ratio, abs=0.03)
    if 0 < ratio < 1:
        assert len({image.numpy().tobytes() for image in hidden}) == 4  # one for every image and call
    else:
        assert len({image.numpy().tobytes() for image in hidden}) == 1


def test_three_quarters_are_hidden_by_default() -> None:
    assert MGD(1, 1).mask_ratio == 0.75


def test_a_seed_repeats_the_mask() -> None:
    module, student, teacher = case()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(module(student, teacher).item())
    assert losses[0] == losses[1] != losses[2]
