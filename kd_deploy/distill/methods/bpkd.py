"""Boundary-privileged knowledge distillation: the edge and the body of every class, apart.

Paper: BPKD: Boundary Privileged Knowledge Distillation for Semantic Segmentation (Liu et al.,
arXiv 2306.08075, WACV 2024). Its authors released no training code. The paper's: edge masks out of the ground
truth, logits multiplied by them before the softmax, softmax_c on the edge and softmax_n on the body, the
weights 50 (edge) and 20 (body), alpha = 2. Our reading: what ignored pixels and the image border do, the
pooling of the masks, and both forms of `normalizer`. Our choice: T = 4, which is not public.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.distill.positions import class_divergence, logit_pair, spatial_divergence, valid_positions


def edge_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    edge_width: int = 7,
    temperature: float = 4.0,
    alpha: float = 2.0,
    normalizer: Literal["class", "mask"] = "class",
    ignore_index: int = 255,
) -> Tensor:
    """L_E = mean_b sum_c alpha / n_bc sum_i phi_bi M_bci.

    phi = T^2 KL(softmax_c(Z^T M / T) || softmax_c(Z^S M / T)) has one value per position, M are the
    `edge_masks`, and n_bc is the number of cells of M_bc above zero; a class without an edge counts as zero.
    That is `normalizer` "class"; "mask" divides one sum over the classes by sum_c n_bc instead.

    Args:
        student: logits (B,C,h,w) before upsampling, any float dtype; the only input that gets a gradient.
        teacher: logits (B,C,h',w'), resized bilinearly to h x w where they differ.
        labels: (B,H,W) integers.
        edge_width: side k of the square that dilates and erodes, in label pixels, odd.
        temperature: T.
        alpha: the factor alpha.
        normalizer: "class" or "mask".
        ignore_index: the label that counts nowhere.

    Returns:
        float32 scalar.

    Raises:
        ValueError: student and teacher differ in the number of classes, `edge_width` is even, or
            `normalizer` is another.
    """
    student, teacher, masks, _ = _masked_pair(student, teacher, labels, edge_width, ignore_index)
    divergence = class_divergence(student * masks, teacher * masks, temperature)
    cells = (masks > 0).sum((2, 3), keepdim=True)
    if normalizer == "mask":
        cells = cells.sum(1, keepdim=True)
    elif normalizer != "class":
        raise ValueError(f"unknown normalizer {normalizer!r}: class or mask")
    weights = (masks / cells.clamp(min=1)).sum(1)
    return alpha * (divergence * weights).sum((1, 2)).mean()


def body_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    edge_width: int = 7,
    temperature: float = 4.0,
    ignore_index: int = 255,
) -> Tensor:
    """L_B = T^2 / C mean_b sum_c KL(softmax_n(Z^T (1 - M) / T) || softmax_n(Z^S (1 - M) / T)).

    M are the `edge_masks`; softmax_n runs over the valid positions only. Arguments, result and errors
    as in `edge_loss`.
    """
    student, teacher, masks, valid = _masked_pair(student, teacher, labels, edge_width, ignore_index)
    return spatial_divergence(student * (1 - masks), teacher * (1 - masks), valid, temperature).mean()


def _masked_pair(
    student: Tensor, teacher: Tensor, labels: Tensor, edge_width: int, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`logit_pair` with the edge masks (B,C,h,w) put in as the third."""
    student, teacher, valid = logit_pair(student, teacher, labels, ignore_index)
    num_classes, *size = student.shape[1:]
    masks = edge_masks(labels, num_classes, size, edge_width=edge_width, ignore_index=ignore_index)
    return student, teacher, masks, valid


@torch.no_grad()
def edge_masks(
    labels: Tensor,
    num_classes: int,
    size: Sequence[int],
    *,
    edge_width: int = 7,
    ignore_index: int = 255,
) -> Tensor:
    """Share of each position's labels that lie on an edge of each class: M (B,C,h,w) float32 in [0,1].

    With Y_c = [G = c], E_c = dilate_k(Y_c) - erode_k(Y_c) at label resolution, with a k x k square. The image
    border is no edge; E is 0 on ignored pixels and an ignored neighbour makes no edge. M is the average pool
    of E to `size`, adaptive where that does not divide, and 0 at invalid positions.

    The erosion removes c exactly where the window holds c and another class too, so that
    E_c = dilate_k(Y_c) [more than one class in the window]: no min-pool. Only the planes (image, class) that
    occur are built. Memory therefore grows with the classes that the labels show, not with C.

    Args:
        labels: (B,H,W) integers, each below `num_classes` or `ignore_index`.
        num_classes: C.
        size: (h, w).
        edge_width: side k of the square, in label pixels, odd.
        ignore_index: the label that is no class.

    Raises:
        ValueError: an even or non-positive `edge_width`.
    """
    if edge_width < 1 or edge_width % 2 == 0:
        raise ValueError(f"edge_width is {edge_width}: it must be odd and positive")
    batch = len(labels)
    known = labels != ignore_index
    indices = torch.where(known, labels.long(), num_classes).flatten(1)
    occurs = torch.zeros(batch, num_classes + 1, dtype=torch.bool, device=labels.device)
    image, cls = occurs.scatter_(1, indices, True)[:, :num_classes].nonzero(as_tuple=True)

    near = _dilate(indices.short().view_as(labels)[image] == cls.short()[:, None, None], edge_width)
    classes_near = torch.zeros(labels.shape, dtype=torch.uint8, device=labels.device)
    classes_near.index_add_(0, image, near.view(torch.uint8))
    near &= ((classes_near > 1) & known)[image]

    height, width = size
    masks = torch.zeros(batch, num_classes, height, width, device=labels.device)
    masks[image, cls] = F.adaptive_avg_pool2d(near.float().unsqueeze(1), (height, width)).squeeze(1)
    return masks.mul_(valid_positions(labels, masks, ignore_index))


def _dilate(planes: Tensor, width: int) -> Tensor:
    """Maximum of bool (K,H,W) over a square window, clipped at the border.

    It is a max-pool of stride 1 as an OR of shifted views, in place: `max_pool2d` takes no bool and keeps an
    int64 index for every element.
    """
    for dim in (1, 2):
        source, planes = planes, planes.clone()
        for shift in range(1, min(width // 2, planes.shape[dim] - 1) + 1):
            rest = planes.shape[dim] - shift
            planes.narrow(dim, shift, rest).logical_or_(source.narrow(dim, 0, rest))
            planes.narrow(dim, 0, rest).logical_or_(source.narrow(dim, shift, rest))
    return planes
