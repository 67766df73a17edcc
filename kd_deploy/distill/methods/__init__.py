"""The methods by the names that recipes use; a method is a pure function of tensors and knows no network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kd_deploy.distill.methods import bpkd, cwd, kd

METHODS: dict[str, Callable[..., Tensor]] = {
    "kd": kd.pixel_kd_loss,
    "cwd": cwd.cwd_loss,
    "bpkd.body": bpkd.body_loss,
    "bpkd.edge": bpkd.edge_loss,
}
