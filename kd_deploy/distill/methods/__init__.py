"""The methods by the names that recipes use; a method is a pure function of tensors and knows no network.

Every one is called as `loss(student, teacher, labels, **options)` with what the term's taps give: a tensor, or a
list of them where the method compares several levels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from kd_deploy.distill.methods import at, bpkd, brd, cirkd, cwd, dist, icsd, ifvd, kd, mgd, skd

METHODS: dict[str, Callable[..., Tensor]] = {
    "kd": kd.pixel_kd_loss,
    "cwd": cwd.cwd_loss,
    "bpkd.body": bpkd.body_loss,
    "bpkd.edge": bpkd.edge_loss,
    "icsd": icsd.icsd_loss,
    "brd.boundary": brd.boundary_loss,
    "brd.relation": brd.relation_loss,
    "skd": skd.pairwise_loss,
    "ifvd": ifvd.ifvd_loss,
    "cirkd": cirkd.minibatch_loss,
    "dist": dist.dist_loss,
    "at": at.at_loss,
}

LEARNED = {"mgd": mgd.MGD}
"""Methods that are modules, made as `module(student_channels, teacher_channels, **options)`: they learn too."""
