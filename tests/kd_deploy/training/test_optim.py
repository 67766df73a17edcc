"""Optimisers and the learning rate's way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from kd_deploy.config.schema import Train
from kd_deploy.models.segmenter import build
from kd_deploy.training.optim import make_optimizer, make_scheduler


def settings(**changes: object) -> Train:
    return Train.model_validate({"iterations": 20, "batch_size": 2, "crop": (32, 32), "lr": 0.1, **changes})


def rates(train: Train) -> list[float]:
    optimizer = make_optimizer(train, build("deeplabv3plus", "mobilenet_v2", 3), nn.ModuleDict())
    scheduler = make_scheduler(optimizer, train)
    found = []
    for _ in range(train.iterations):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_poly_falls_from_lr_towards_zero() -> None:
    found = rates(settings(lr_schedule={"kind": "poly", "power": 0.9}))
    assert found == pytest.approx([0.1 * (1 - step / 20) ** 0.9 for step in range(20)])


def test_cosine_is_half_a_period() -> None:
    found = rates(settings(lr_schedule={"kind": "cosine"}))
    assert found[0] == pytest.approx(0.1)
    assert found[10] == pytest.approx(0.05)
    assert found[5] + found[15] == pytest.approx(0.1)


def test_warmup_rises_linearly_and_never_from_zero() -> None:
    found = rates(settings(lr_schedule={"kind": "poly", "power": 1.0, "warmup": 4}))
    assert found[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert all(a > b for a, b in pairwise(found[4:]))


def groups(train: Train) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by the parameter's name."""
    segmenter, adapters = (
        build("deeplabv3plus", "mobilenet_v2", 3),
        nn.ModuleDict({"cwd": nn.Conv2d(2, 2, 1)}),
    )
    optimizer = make_optimizer(train, segmenter, adapters)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    names = [*segmenter.network.named_parameters(), *adapters.named_parameters()]
    assert len(found) == len(names)
    return {name: found[id(parameter)] for name, parameter in names}


def test_adamw_decays_weights_but_no_norm_and_no_bias() -> None:
    found = groups(settings(optimizer={"name": "adamw", "weight_decay": 0.05}))
    assert found["encoder.features.0.0.weight"] == found["segmentation_head.0.weight"] == (0.1, 0.05)
    assert found["encoder.features.0.1.weight"] == found["segmentation_head.0.bias"] == (0.1, 0.0)
    assert found["cwd.weight"] == (0.1, 0.05)
    assert found["cwd.bias"] == (0.1, 0.0)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_all_but_the_encoder_may_learn_faster(name: str) -> None:
    found = groups(settings(optimizer={"name": name}, head_lr=10))
    assert {rate for key, (rate, _) in found.items() if key.startswith("encoder.")} == {0.1}
    assert {rate for key, (rate, _) in found.items() if not key.startswith("encoder.")} == {1.0}


def test_sgd_takes_its_momentum() -> None:
    train = settings(optimizer={"name": "sgd", "momentum": 0.8, "weight_decay": 0.02})
    optimizer = make_optimizer(train, build("deeplabv3plus", "mobilenet_v2", 3), nn.ModuleDict())
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.8
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02}
