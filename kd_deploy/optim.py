"""Optimisers and learning-rate schedules by their names in a recipe."""

from __future__ import annotations

import math
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kd_deploy.config import schema


def make_optimizer(train: schema.Train, network: nn.Module) -> Optimizer:
    """SGD or AdamW; norms and biases carry no weight decay under AdamW (SegFormer's protocol)."""
    settings = train.optimizer
    if settings.name == "sgd":
        return SGD(
            network.parameters(),
            lr=train.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return AdamW(groups, lr=train.lr, weight_decay=settings.weight_decay)


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
