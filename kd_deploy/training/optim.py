"""Optimisers and learning-rate schedules by their names in a recipe."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kd_deploy.config import schema
from kd_deploy.models.segmenter import Segmenter


def make_optimizer(train: schema.Train, segmenter: Segmenter, adapters: nn.Module) -> Optimizer:
    """SGD or AdamW over the network and what the objective learns beside it.

    Everything but the encoder learns at `head_lr` times the rate. Under AdamW norms and biases carry no weight
    decay (SegFormer's protocol).
    """
    encoder = list(segmenter.network.encoder.parameters())
    inside = {id(parameter) for parameter in encoder}
    rest = [p for p in chain(segmenter.parameters(), adapters.parameters()) if id(p) not in inside]
    settings = train.optimizer
    groups = [{"params": encoder, "lr": train.lr}, {"params": rest, "lr": train.lr * train.head_lr}]
    if settings.name == "sgd":
        return SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)
    return AdamW(
        [part for group in groups for part in _by_decay(group, settings.weight_decay)],
        weight_decay=settings.weight_decay,
    )


def _by_decay(group: dict[str, Any], weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in group["params"] if p.ndim > 1]
    plain = [p for p in group["params"] if p.ndim <= 1]
    return [
        {**group, "params": decayed, "weight_decay": weight_decay},
        {**group, "params": plain, "weight_decay": 0.0},
    ]


def make_scheduler(optimizer: Optimizer, train: schema.Train) -> LambdaLR:
    """Linear warm-up, then poly or cosine to 0 at the last iteration."""
    settings = train.lr_schedule

    def factor(step: int) -> float:
        if step < settings.warmup:
            return (step + 1) / settings.warmup
        left = 1.0 - step / train.iterations
        if settings.kind == "poly":
            return float(left**settings.power)
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))

    return LambdaLR(optimizer, factor)
