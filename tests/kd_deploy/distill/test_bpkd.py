from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from kd_deploy.distill.methods.bpkd import body_loss, edge_loss, edge_masks
from tests.kd_deploy.distill.tester import (
    IGNORED,
    Array,
    Labels,
    LogitLossTester,
    images,
    random_labels,
    reference_kl,
    reference_pool,
    reference_valid,
)

T = 4.0


def reference_masks(truth: Labels, classes: int, height: int, width: int, edge_width: int) -> Array:
    """M (C,height,width) of one image (H,W), pixel by pixel from the definition of dilation and erosion."""
    radius = edge_width // 2
    edges = np.zeros((classes, *truth.shape))
    for c, i, j in np.ndindex(edges.shape):
        window = truth[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        dilated = np.max(window == c)
        eroded = np.min((window == c) | (window == IGNORED))
        if truth[i, j] != IGNORED:
            edges[c, i, j] = float(dilated) - float(eroded)
    valid = reference_valid(truth, height, width)
    return np.array([reference_pool(edge, height, width) * valid for edge in edges])


def reference_edge(
    student: Array,
    teacher: Array,
    labels: Any,
    edge_width: int,
    normalizer: str = "class",
    alpha: float = 2.0,
) -> float:
    losses = []
    for zs, zt, truth in images(student, teacher, labels):
        masks = reference_masks(truth, *zs.shape, edge_width)
        sums, cells = np.zeros(len(zs)), np.zeros(len(zs))
        for c, i, j in np.argwhere(masks > 0):
            mask = masks[:, i, j]
            phi = T**2 * reference_kl(zt[:, i, j] * mask / T, zs[:, i, j] * mask / T)
            sums[c] += phi * mask[c]
            cells[c] += 1
        if normalizer == "mask":
            losses.append(alpha * sums.sum() / max(cells.sum(), 1))
        else:
            losses.append(sum(alpha / n * total for total, n in zip(sums, cells, strict=True) if n))
    return float(np.mean(losses))


def reference_body(student: Array, teacher: Array, labels: Any, edge_width: int) -> float:
    losses = []
    for zs, zt, truth in images(student, teacher, labels):
        valid = reference_valid(truth, *zs.shape[1:])
        body = 1 - reference_masks(truth, *zs.shape, edge_width)
        terms = [
            reference_kl((t * m)[valid] / T, (s * m)[valid] / T) for s, t, m in zip(zs, zt, body, strict=True)
        ]
        losses.append(T**2 * np.mean(terms))
    return float(np.mean(losses))


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
