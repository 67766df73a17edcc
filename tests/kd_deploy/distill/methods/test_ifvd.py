from typing import Any

import numpy as np
import torch

from kd_deploy.distill.methods.ifvd import ifvd_loss
from tests.kd_deploy.distill.reference import IGNORED, Array, Labels, images, mean
from tests.kd_deploy.distill.tester import RelationTester


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def nearest(truth: Labels, height: int, width: int) -> Labels:
    rows = [i * truth.shape[0] // height for i in range(height)]
    columns = [j * truth.shape[1] // width for j in range(width)]
    return truth[np.ix_(rows, columns)]


def reference(student: Array, teacher: Array, labels: Any) -> float:
    losses = []
    for (fs, ft, valid), truth in zip(images(student, teacher, labels), labels, strict=True):
        ids = nearest(truth, *valid.shape)
        ids[~valid] = IGNORED
        terms = []
        for i, j in np.argwhere(ids != IGNORED):
            ms, mt = (cosine(f[:, i, j], f[:, ids == ids[i, j]].mean(1)) for f in (fs, ft))
            terms.append((ms - mt) ** 2)
        losses.append(mean(terms))
    return mean(losses)


class TestIFVD(RelationTester):
    loss = staticmethod(ifvd_loss)
    reference = staticmethod(reference)


def test_prototypes_are_of_one_image() -> None:
    """Class 3 means something else in each image: every position is its prototype, so that nothing varies."""
    features = torch.eye(2)[:, :, None, None].expand(2, 2, 3, 3)
    varied = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.full((2, 6, 6), 3)
    assert ifvd_loss(features, 5 * features, labels) == 0
    assert ifvd_loss(features, varied, labels) > 0.1


def test_class_ids_up_to_255_and_another_ignore_index() -> None:
    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 1, 4, 4, 4, generator=rng)
    labels = torch.tensor([0, 254, 254, 255], dtype=torch.uint8).expand(1, 4, 4)
    renamed = torch.tensor([2, 1, 1, 0]).expand(1, 4, 4)
    expected = ifvd_loss(student, teacher, renamed, ignore_index=0)
    assert expected > 1e-3
    torch.testing.assert_close(ifvd_loss(student, teacher, labels), expected)
    all_count = ifvd_loss(student, teacher, labels, ignore_index=7)
    torch.testing.assert_close(all_count, ifvd_loss(student, teacher, renamed, ignore_index=7))
    assert all_count != expected


def test_a_position_counts_where_its_label_and_half_of_its_labels_are_known() -> None:
    """Four positions of 2 x 2 labels: known, known, no label of its own (the upper left), one label alone."""
    student, teacher = torch.randn(2, 1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[255, 255, 255, 255, 7, 255, 255, 7], [255, 255, 255, 255, 255, 255, 7, 7]]])
    expected = ifvd_loss(student[..., :2], teacher[..., :2], labels[..., :4], ignore_index=7)
    assert expected > 1e-3
    torch.testing.assert_close(ifvd_loss(student, teacher, labels, ignore_index=7), expected)
