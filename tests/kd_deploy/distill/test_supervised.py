"""Cross-entropy: what is divided by what, class weights, hard pixels, and shares of a batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_deploy.config.terms import Ohem
from kd_deploy.distill.supervised import AuxiliaryHead, cross_entropy, labelled_pixels

WEIGHTS = torch.tensor([1.0, 2.0, 0.25, 3.0])


def drawn_logits() -> Tensor:
    return torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()


def drawn_labels(ignored: int = 3) -> Tensor:
    drawn = torch.randint(0, 4, (2, 32, 48), generator=torch.Generator().manual_seed(9)).to(torch.uint8)
    drawn[:, :ignored] = 255
    return drawn


def full(logits: Tensor) -> Tensor:
    return F.interpolate(logits, size=(32, 48), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_it_is_pytorchs_mean_over_the_labelled_pixels(weights: Tensor | None) -> None:
    logits, labels = drawn_logits(), drawn_labels()
    expected = F.cross_entropy(full(logits), labels.long(), weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels, class_weights=weights), expected)


@pytest.mark.parametrize("ohem", [None, Ohem()])
def test_without_a_labelled_pixel_it_is_zero_with_a_gradient(ohem: Ohem | None) -> None:
    logits = drawn_logits()
    loss = cross_entropy(logits, drawn_labels(32), ohem=ohem)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_mean_of_shares_is_the_whole(weights: Tensor | None) -> None:
    logits, labels = drawn_logits(), drawn_labels()
    labels[0, :20] = 255  # the shares have different numbers of labelled pixels
    whole = cross_entropy(logits, labels, class_weights=weights)
    labelled = labelled_pixels(labels, weights) / 2
    shares = [
        cross_entropy(logits[i : i + 1], labels[i : i + 1], labelled, class_weights=weights) for i in (0, 1)
    ]
    torch.testing.assert_close(sum(shares) / 2, whole)
    assert shares[0] != shares[1]


def test_hard_pixels_are_those_below_the_threshold() -> None:
    logits, labels = 3 * drawn_logits(), drawn_labels()
    each = F.cross_entropy(full(logits), labels.long(), ignore_index=255, reduction="none")
    hard = (labels != 255) & ((-each).exp() <= 0.3)
    assert 0.2 < hard.float().mean() < 0.8
    found = cross_entropy(logits, labels, ohem=Ohem(threshold=0.3, keep=0.01))
    torch.testing.assert_close(found, each[hard].mean())


def test_the_hardest_make_up_the_least_share() -> None:
    logits, labels = drawn_logits(), drawn_labels()
    each = F.cross_entropy(full(logits), labels.long(), ignore_index=255, reduction="none")
    known = each[labels != 255]
    expected = known.sort(descending=True).values[: round(0.5 * len(known))].mean()
    found = cross_entropy(logits, labels, ohem=Ohem(threshold=1e-6, keep=0.5))  # no pixel is that hard
    torch.testing.assert_close(found, expected)


def test_ignored_pixels_are_never_hard() -> None:
    logits, labels = drawn_logits(), drawn_labels(16)
    loss = cross_entropy(logits, labels, ohem=Ohem(keep=1.0))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:, :, :3].abs().max() == 0
    torch.testing.assert_close(loss, cross_entropy(logits, labels))


def test_hard_pixels_keep_their_class_weights() -> None:
    logits, labels = drawn_logits(), drawn_labels()
    loss = cross_entropy(logits, labels, class_weights=WEIGHTS, ohem=Ohem(keep=1.0))
    torch.testing.assert_close(loss, cross_entropy(logits, labels, class_weights=WEIGHTS))


def test_the_auxiliary_head_reads_half_precision() -> None:
    head = AuxiliaryHead(64, 5)
    assert head(torch.zeros(2, 64, 6, 7, dtype=torch.bfloat16)).shape == (2, 5, 6, 7)
    assert head(torch.zeros(2, 64, 6, 7, dtype=torch.bfloat16)).dtype == torch.float32
