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

from kd_deploy.distill.positions import (
    aligned,
    check_classes,
    class_divergence,
    matmul,
    pair,
    spatial_divergence,
    valid_positions,
)

_BITS = 32
"""Classes in a word."""


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
    check_classes(student, teacher)
    student, teacher, valid = pair(student, teacher, labels, ignore_index)
    masks = _masks(labels, valid, student.shape[1], edge_width, ignore_index)
    share = masks / temperature
    divergence = class_divergence(student * share, teacher * share)
    cells = (masks.flatten(2) > 0).sum(2)
    if normalizer == "mask":
        cells = cells.sum(1, keepdim=True).expand_as(cells)
    elif normalizer != "class":
        raise ValueError(f"unknown normalizer {normalizer!r}: class or mask")
    # sum_c 1 / n_bc sum_i phi_bi M_bci is sum_i phi_bi (sum_c M_bci / n_bc): a product of matrices.
    weights = matmul(1 / cells.clamp(min=1).unsqueeze(1), masks.flatten(2)).squeeze(1)
    return alpha * temperature**2 * (divergence.flatten(1) * weights).sum(1).mean()


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
    check_classes(student, teacher)
    student, teacher, valid = aligned(student, teacher, labels, ignore_index)
    share = (1 - _masks(labels, valid, student.shape[1], edge_width, ignore_index)) / temperature
    return temperature**2 * spatial_divergence(student * share, teacher * share, valid).mean()


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
    E_c = dilate_k(Y_c) [more than one class in the window]: no min-pool. A class is one bit of an int32 word,
    32 classes a word, through dilation and pooling alike; no (B,C,H,W) one-hot is ever built. At label resolution
    memory is a few words a pixel, ceil(C / 32) each; on the logit grid it is that of the result.

    Args:
        labels: (B,H,W) integers, each below `num_classes` or `ignore_index`.
        num_classes: C.
        size: (h, w).
        edge_width: side k of the square, in label pixels, odd.
        ignore_index: the label that is no class.

    Raises:
        ValueError: an even or non-positive `edge_width`.
    """
    like = torch.empty(len(labels), num_classes, *size, device=labels.device)
    return _masks(labels, valid_positions(labels, like, ignore_index), num_classes, edge_width, ignore_index)


def _masks(labels: Tensor, valid: Tensor, num_classes: int, edge_width: int, ignore_index: int) -> Tensor:
    """`edge_masks` on the grid of the `valid` positions (B,1,h,w)."""
    if edge_width < 1 or edge_width % 2 == 0:
        raise ValueError(f"edge_width is {edge_width}: it must be odd and positive")
    known = labels != ignore_index
    near = _dilate(_class_bits(labels.long().masked_fill(~known, num_classes), num_classes), edge_width)
    edge = near.masked_fill_(~(_several_bits(near) & known), 0)

    cells, area = _cells(edge, valid.shape[-2:])
    return _unpack(_count_bits(cells), num_classes) * (valid / area)


def _cells(words: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The pixels of every window of an adaptive pool of words (W,B,H,W'), as (W,B,n,h,w), and each window's area.

    Where windows have different sizes the smaller ones are filled up with words that have no bit set.
    """
    (height, width), (rows, columns) = words.shape[-2:], size
    if height % rows == 0 and width % columns == 0:
        blocks = words.view(*words.shape[:2], rows, height // rows, columns, width // columns)
        area = torch.tensor(height // rows * (width // columns), device=words.device)
        return blocks.permute(0, 1, 3, 5, 2, 4).flatten(2, 3), area
    down, across = _windows(height, rows, words.device), _windows(width, columns, words.device)
    cells = F.pad(words, (0, 1, 0, 1))[..., down[:, None, :, None], across[None, :, None, :]].flatten(2, 3)
    return cells, (down < height).sum(0).unsqueeze(1) * (across < width).sum(0)


def _class_bits(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (B,H,W) int64 as int32 words (ceil(C/32),B,H,W): the bit of the pixel's class; none for label C."""
    classes = torch.arange(num_classes, device=labels.device)
    table = torch.zeros(-(-num_classes // _BITS), num_classes + 1, dtype=torch.int32, device=labels.device)
    table[classes // _BITS, classes] = torch.ones_like(classes).int() << (classes % _BITS).int()
    return torch.stack([word.take(labels) for word in table])


def _several_bits(words: Tensor) -> Tensor:
    """Whether two bits or more are set in the words (W,...) of a pixel: (...) bool."""
    within = (words & (words - 1)) != 0
    return within[0] if len(words) == 1 else within.any(0) | ((words != 0).sum(0) > 1)


def _dilate(words: Tensor, width: int) -> Tensor:
    """OR of words (...,H,W) over a square window, clipped at the border; the reach doubles with every step."""
    for dim, border in ((-2, (0, 0, width // 2, width // 2)), (-1, (width // 2, width // 2))):
        words, reach = F.pad(words, border), 1
        while reach < width:
            step = min(reach, width - reach)
            rest = words.shape[dim] - step
            words = words.narrow(dim, 0, rest) | words.narrow(dim, step, rest)
            reach += step
    return words


def _windows(length: int, count: int, device: torch.device) -> Tensor:
    """The pixels of the windows of an adaptive pool: (longest, count) indices, `length` where a window is shorter."""
    window = torch.arange(count)
    start, end = window * length // count, -(-(window + 1) * length // count)
    index = start + torch.arange(int((end - start).max())).unsqueeze(1)
    return torch.where(index < end, index, length).to(device)


def _count_bits(words: Tensor) -> list[Tensor]:
    """How often each bit is set along n in words (W,B,n,h,w): the binary digits (W,B,h,w) of the counts, lowest first.

    A ripple-carry adder adds one half to the other, all bits of all words side by side, until one is left.
    """
    digits = [words]
    while (n := digits[0].shape[2]) > 1:
        if n % 2:
            digits = [F.pad(digit, (0, 0, 0, 0, 0, 1)) for digit in digits]
        a, b = digits[0].chunk(2, dim=2)
        added, carry = [a ^ b], a & b
        for digit in digits[1:]:
            a, b = digit.chunk(2, dim=2)
            either = a ^ b
            added.append(either ^ carry)
            carry = (a & b) | (either & carry)
        digits = [*added, carry]
    return [digit.squeeze(2) for digit in digits]


def _unpack(digits: list[Tensor], num_classes: int) -> Tensor:
    """The counts (B,C,h,w) whose binary digits, as words (W,B,h,w), are given lowest first; in bytes where they fit."""
    classes = torch.arange(num_classes, device=digits[0].device)
    byte, bit = classes // 8, (classes % 8).byte().view(-1, 1, 1)
    dtype = torch.uint8 if len(digits) <= 8 else torch.int32
    counts = torch.zeros((), dtype=dtype, device=bit.device)
    for digit in reversed(digits):
        octets = digit.unsqueeze(-1).view(torch.uint8).movedim((0, -1), (1, 2)).flatten(1, 2)
        counts = ((octets[:, byte] >> bit) & 1).to(dtype).add(counts, alpha=2)
    return counts
