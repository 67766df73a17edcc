"""Optimisers and the learning rate's way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from kd_deploy.config.schema import Train
from kd_deploy.optim import make_optimizer, make_scheduler


def settings(**changes: object) -> Train:
    return Train.model_validate({"iterations": 20, "batch_size": 2, "crop": (32, 32), "lr": 0.1, **changes})


def rates(train: Train) -> list[float]:
    optimizer = make_optimizer(train, nn.Linear(2, 2))
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


def test_adamw_decays_weights_but_no_norm_and_no_bias() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    optimizer = make_optimizer(settings(optimizer={"name": "adamw", "weight_decay": 0.05}), network)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in network.parameters()] == [0.05, 0.0, 0.0, 0.0]


def test_sgd_takes_its_momentum() -> None:
    optimizer = make_optimizer(settings(optimizer={"name": "sgd", "momentum": 0.8}), nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["momentum"] == 0.8
    assert optimizer.defaults["lr"] == 0.1
