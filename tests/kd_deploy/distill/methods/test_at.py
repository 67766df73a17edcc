from typing import Any

import numpy as np

from kd_deploy.distill.methods.at import at_loss
from tests.kd_deploy.distill.reference import Array, images, mean
from tests.kd_deploy.distill.tester import RelationTester, WithoutLabels


def reference(student: Array, teacher: Array, labels: Any) -> float:
    losses = []
    for fs, ft, valid in images(student, teacher, labels):
        maps = [np.array([np.mean(f[:, i, j] ** 2) for i, j in np.argwhere(valid)]) for f in (fs, ft)]
        s, t = (a / np.linalg.norm(a) for a in maps)
        losses.append(mean(list((s - t) ** 2)))
    return mean(losses)


class TestAT(WithoutLabels, RelationTester):
    loss = staticmethod(at_loss)
    reference = staticmethod(reference)
