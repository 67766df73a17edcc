from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kd_deploy.distill.methods.bpkd import body_loss, edge_loss, edge_masks
from tests.kd_deploy.distill.inputs import random_labels
from tests.kd_deploy.distill.reference import (
    IGNORED,
    Array,
    Labels,
    images,
    kl,
    mean,
    pool,
    valid_positions,
)
from tests.kd_deploy.distill.tester import LogitLossTester

T = 4.0


def reference_masks(truth: Labels, classes: int, height: int, width: int, edge_width: int) -> Array:
    """M (C,height,width) of one image (H,W), pixel by pixel from the definition of dilation and erosion."""
    radius = edge_width // 2
    edges = np.zeros((classes, *truth.shape))
    for i, j in np.argwhere(truth != IGNORED):
        window = truth[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        for c in np.unique(window[window != IGNORED]):
            eroded = np.all((window == c) | (window == IGNORED))
            edges[c, i, j] = 1.0 - float(eroded)  # c is in the window: the dilation has it
    valid = valid_positions(truth, height, width)
    return np.array([pool(edge, height, width) * valid for edge in edges])


def reference_edge(
    student: Array,
    teacher: Array,
    labels: Any,
    edge_width: int,
    normalizer: str = "class",
    alpha: float = 2.0,
) -> float:
    losses = []
    for (zs, zt, _), truth in zip(images(student, teacher, labels), labels, strict=True):
        masks = reference_masks(truth, *zs.shape, edge_width)
        sums, cells = np.zeros(len(zs)), np.zeros(len(zs))
        for i, j in np.argwhere(masks.any(0)):
            mask = masks[:, i, j]
            phi = T**2 * kl(zt[:, i, j] * mask / T, zs[:, i, j] * mask / T)
            for c in np.flatnonzero(mask):
                sums[c] += phi * mask[c]
                cells[c] += 1
        if normalizer == "mask":
            losses.append(alpha * sums.sum() / max(cells.sum(), 1))
        else:
            losses.append(sum(alpha / n * total for total, n in zip(sums, cells, strict=True) if n))
    return mean(losses)


def reference_body(student: Array, teacher: Array, labels: Any, edge_width: int) -> float:
    losses = []
    for (zs, zt, valid), truth in zip(images(student, teacher, labels), labels, strict=True):
        body = 1 - reference_masks(truth, *zs.shape, edge_width)
        terms = [kl((t * m)[valid] / T, (s * m)[valid] / T) for s, t, m in zip(zs, zt, body, strict=True)]
        losses.append(T**2 * mean(terms))
    return mean(losses)


class TestEdgeLoss(LogitLossTester):
    loss = staticmethod(partial(edge_loss, edge_width=3))
    reference = staticmethod(partial(reference_edge, edge_width=3))


class TestEdgeLossPerMask(LogitLossTester):
    loss = staticmethod(partial(edge_loss, edge_width=5, normalizer="mask", alpha=0.5))
    reference = staticmethod(partial(reference_edge, edge_width=5, normalizer="mask", alpha=0.5))


class TestBodyLoss(LogitLossTester):
    loss = staticmethod(partial(body_loss, edge_width=3))
    reference = staticmethod(partial(reference_body, edge_width=3))


@pytest.mark.parametrize("edge_width", [1, 3, 7, 31])
@pytest.mark.parametrize("size", [(5, 6), (13, 17), (1, 1), (20, 3)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8])
def test_masks_equal_the_reference(edge_width: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    labels = random_labels(np.random.default_rng(0), (3, 13, 17), 4, 0.3)
    labels[2] = IGNORED
    masks = edge_masks(labels.to(dtype), 4, size, edge_width=edge_width)
    expected = [reference_masks(truth, 4, *size, edge_width) for truth in labels.numpy()]
    assert masks.dtype == torch.float32
    assert (masks.max() > 0) == (edge_width > 1)
    np.testing.assert_allclose(masks.numpy(), np.stack(expected), rtol=1e-6)


def test_an_edge_of_width_7_reaches_3_pixels_to_either_side() -> None:
    labels = torch.zeros(1, 8, 16, dtype=torch.int64)
    labels[:, :, 8:] = 1
    masks = edge_masks(labels, 3, (8, 16))
    expected = torch.zeros(8, 16)
    expected[:, 5:11] = 1
    assert torch.equal(masks[0, 0], expected)
    assert torch.equal(masks[0, 1], expected)
    assert torch.equal(masks[0, 2], torch.zeros(8, 16))
    assert torch.equal(edge_masks(labels, 3, (4, 4))[0, 0, 0], torch.tensor([0, 0.75, 0.75, 0]))


def test_neither_the_image_border_nor_an_ignored_region_is_an_edge() -> None:
    labels = torch.zeros(1, 12, 12, dtype=torch.int64)
    labels[:, 4:8, 4:8] = IGNORED
    assert edge_masks(labels, 2, (6, 6)).max() == 0


def test_two_classes_across_ignored_pixels_are_an_edge_within_reach() -> None:
    labels = torch.tensor([[[0, 0, 0, IGNORED, 1, 1, 1]]])
    assert edge_masks(labels, 2, (1, 7), edge_width=5)[0].tolist() == [[[0, 0, 1, 0, 1, 0, 0]]] * 2
    assert edge_masks(labels, 2, (1, 7), edge_width=3).max() == 0


def test_an_image_without_edges_is_all_body() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 3, 4, 4)
    labels = torch.ones(1, 16, 16, dtype=torch.int64)
    assert edge_loss(student, teacher, labels) == 0
    assert body_loss(student, teacher, labels) > 0


@pytest.mark.parametrize("edge_width", [0, 4, -3])
def test_an_edge_width_without_a_centre_is_refused(edge_width: int) -> None:
    with pytest.raises(ValueError, match=f"edge_width is {edge_width}"):
        edge_masks(torch.zeros(1, 4, 4, dtype=torch.int64), 2, (2, 2), edge_width=edge_width)


def test_an_unknown_normalizer_is_refused() -> None:
    logits, labels = torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="unknown normalizer 'pixel'"):
        edge_loss(logits, logits, labels, normalizer="pixel")  # type: ignore[arg-type]


class Allocations(TorchDispatchMode):
    """The bytes of the biggest tensor that an operation returned."""

    biggest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, torch.Tensor):
                self.biggest = max(self.biggest, x.untyped_storage().nbytes())
        return result


def test_masks_need_no_one_hot_labels() -> None:
    classes, side = 150, 512
    labels = random_labels(np.random.default_rng(0), (1, side, side), classes, 0.1)
    with Allocations() as seen:
        masks = edge_masks(labels, classes, (128, 128))
    assert masks.count_nonzero() > 0
    one_hot = classes * side * side  # bytes, as bool
    assert masks.numel() * 4 <= seen.biggest <= one_hot / 3


def test_more_edge_pixels_in_a_cell_than_a_byte_holds() -> None:
    labels = (torch.arange(34) % 2).repeat(1, 17, 1)
    assert edge_masks(labels, 2, (1, 2)).tolist() == [[[[1.0, 1.0]]] * 2]
