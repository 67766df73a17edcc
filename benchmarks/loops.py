"""Every loss of kd_deploy.distill.methods the plain way: loops over images, classes, pairs and levels.

What a careful person writes from the definitions when speed is no aim, with the methods' default options, for
student and teacher on one grid of at most 1024 positions where positions are compared with each other. Every image
is taken to have a valid position. `losses.py` checks each of them against ours before it times either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.methods.mgd import MGD

IGNORE = 255


def kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        total = total + _kl(s, t, dim=0) / s.shape[1]
    return total / len(student)


def cwd(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        for plane_s, plane_t in zip(s, t, strict=True):
            total = total + _kl(plane_s / temperature, plane_t / temperature, dim=0)
    return temperature**2 * total / student.shape[:2].numel()


def bpkd_masks(labels: Tensor, classes: int, size: tuple[int, int], *, edge_width: int = 7) -> Tensor:
    known = (labels != IGNORE).unsqueeze(1)
    one_hot = torch.stack([labels == c for c in range(classes)], dim=1).float()
    border = edge_width // 2
    dilated = F.max_pool2d(one_hot, edge_width, stride=1, padding=border)
    eroded = -F.max_pool2d(-torch.where(known, one_hot, 1.0), edge_width, stride=1, padding=border)
    return F.adaptive_avg_pool2d((dilated - eroded) * known, size) * _valid(labels, size).unsqueeze(1)


def bpkd_edge(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0, alpha: float = 2.0
) -> Tensor:
    masks = bpkd_masks(labels, student.shape[1], _grid(student))
    total = student.new_zeros(())
    for s, t, image_masks in zip(student, teacher, masks, strict=True):
        log_s, log_t = ((z * image_masks / temperature).log_softmax(0) for z in (s, t))
        phi = temperature**2 * (log_t.exp() * (log_t - log_s)).sum(0)
        for mask in image_masks:
            if count := int((mask > 0).sum()):
                total = total + alpha / count * (phi * mask).sum()
    return total / len(student)


def bpkd_body(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0) -> Tensor:
    body = 1 - bpkd_masks(labels, student.shape[1], _grid(student))
    return cwd(student * body, teacher * body, labels, temperature=temperature)


def icsd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    return _icsd(student, teacher, labels, unbound=False)


def icsd_unbound(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The loop over pairs by someone who knows autograd: indexing writes a whole gradient for each pair."""
    return _icsd(student, teacher, labels, unbound=True)


def _icsd(student: Tensor, teacher: Tensor, labels: Tensor, *, unbound: bool) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        matrices = [F.normalize(_interclass_matrix(z, unbound), dim=1) for z in (s, t)]
        total = total + (matrices[1] - matrices[0]).square().mean()
    return total / len(student)


def _interclass_matrix(logits: Tensor, unbound: bool) -> Tensor:
    """KL(P_i || P_j) for every pair of the classes of one image (C,N)."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    every = range(len(logits))
    if unbound:
        planes = list(zip(p.unbind(), log_p.unbind(), strict=True))
        rows = [torch.stack([(p_i * (log_i - log_j)).sum() for _, log_j in planes]) for p_i, log_i in planes]
    else:
        rows = [torch.stack([(p[i] * (log_p[i] - log_p[j])).sum() for j in every]) for i in every]
    return torch.stack(rows)


def dist(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        s, t = s.softmax(0), t.softmax(0)
        rows = 1 - _pearson(s.T, t.T)
        columns = torch.stack([1 - _pearson(a, b) for a, b in zip(s.unbind(), t.unbind(), strict=True)])
        total = total + rows.mean() + columns.mean()
    return total / len(student)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation along the last dimension."""
    return F.cosine_similarity(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), dim=-1)


def skd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        s, t = F.normalize(s, dim=0), F.normalize(t, dim=0)
        total = total + (s.T @ s - t.T @ t).square().mean()
    return total / len(student)


def ifvd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    ids = F.interpolate(labels.unsqueeze(1).float(), size=_grid(student)).long().squeeze(1)
    valid = _valid(labels, _grid(student)) & (ids != IGNORE)
    total = student.new_zeros(())
    for s, t, of_image, ok in zip(student, teacher, ids, valid, strict=True):
        wrong = student.new_zeros(())
        for c in of_image[ok].unique():
            mine = ok & (of_image == c)
            to_s, to_t = (
                F.cosine_similarity(f[:, mine], f[:, mine].mean(1, keepdim=True), dim=0) for f in (s, t)
            )
            wrong = wrong + (to_s - to_t).square().sum()
        total = total + wrong / ok.sum()
    return total / len(student)


def cirkd(student: Tensor, teacher: Tensor, labels: Tensor, *, tau: float = 0.1) -> Tensor:
    units = [(F.normalize(s, dim=0), F.normalize(t, dim=0)) for s, t in _images(student, teacher, labels)]
    total = student.new_zeros(())
    for s_a, t_a in units:
        for s_b, t_b in units:
            total = total + _kl(s_a.T @ s_b / tau, t_a.T @ t_b / tau, dim=1) / s_a.shape[1]
    return total / len(units) ** 2


def brd_relation(student: Tensor, teacher: Tensor, labels: Tensor, *, tau: float = 0.1) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        s, t = F.normalize(s, dim=0), F.normalize(t, dim=0)
        total = total + _kl(s.T @ s / tau, t.T @ t / tau, dim=1) / s.shape[1]
    return total / len(student)


def brd_boundary(student: list[Tensor], teacher: list[Tensor], labels: Tensor) -> Tensor:
    total = labels.new_zeros((), dtype=torch.float32)
    for level_s, level_t in zip(student, teacher, strict=True):
        for s, t, ok in zip(level_s, level_t, _valid(labels, _grid(level_s)), strict=True):
            total = total + _kl(_strength(s, ok)[ok], _strength(t, ok)[ok], dim=0)
    return total / (len(student) * len(labels))


def _strength(feature: Tensor, ok: Tensor) -> Tensor:
    """How much each position of one image (C,h,w) differs from the mean of its valid neighbours: (h,w)."""
    feature = torch.where(ok, feature, 0.0)
    height, width = ok.shape
    padded, there = (
        F.pad(x.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0] for x in (feature, ok.float().unsqueeze(0))
    )
    total, count = torch.zeros_like(feature), torch.zeros_like(there[:, :height, :width])
    for y in range(3):
        for x in range(3):
            total = total + padded[:, y : y + height, x : x + width]
            count = count + there[:, y : y + height, x : x + width]
    difference = feature - total / count.clamp(min=1)
    strength = (difference.square().mean(0) + 1e-6).sqrt()
    return strength / strength[ok].mean()


def at(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    total = student.new_zeros(())
    for s, t in _images(student, teacher, labels):
        maps = [F.normalize(f.square().mean(0), dim=0) for f in (s, t)]
        total = total + (maps[0] - maps[1]).square().mean()
    return total / len(student)


def mgd(module: MGD, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    valid = _valid(labels, _grid(student)).unsqueeze(1)
    shown = valid & (torch.rand(valid.shape, device=valid.device) >= module.mask_ratio)
    total = student.new_zeros(())
    for s, t, ok, keep in zip(student, teacher, valid, shown, strict=True):
        aligned = module.align(torch.where(ok, s, 0.0).unsqueeze(0))
        generated = module.generate(aligned * keep)[0]
        total = total + ((generated - t)[:, ok[0]]).square().sum()
    return total / len(student)


def _grid(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _valid(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Positions with half of their labels or more: (B,h,w) bool."""
    share = F.adaptive_avg_pool2d((labels != IGNORE).float().unsqueeze(1), size)
    return share.squeeze(1) >= 0.5 - 1e-6


def _images(student: Tensor, teacher: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The valid positions of each image: (C_s,n) and (C_t,n)."""
    for s, t, ok in zip(student, teacher, _valid(labels, _grid(student)), strict=True):
        yield s[:, ok], t[:, ok]


def _kl(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Sum of KL(softmax(teacher) || softmax(student)) over everything."""
    log_s, log_t = student.log_softmax(dim), teacher.log_softmax(dim)
    return (log_t.exp() * (log_t - log_s)).sum()


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOGITS: dict[str, Loss] = {
    "kd": kd,
    "cwd": cwd,
    "bpkd.edge": bpkd_edge,
    "bpkd.body": bpkd_body,
    "icsd": icsd,
    "dist": dist,
}
FEATURES: dict[str, Loss] = {
    "skd": skd,
    "ifvd": ifvd,
    "cirkd": cirkd,
    "brd.relation": brd_relation,
    "at": at,
}
"""Those that read one tensor of each network, by the method's name; brd.boundary reads several, mgd learns."""
