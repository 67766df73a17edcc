from functools import partial
from typing import Any

import numpy as np

from kd_deploy.distill.methods.skd import pairwise_loss
from tests.kd_deploy.distill.reference import Array, images, mean, tokens
from tests.kd_deploy.distill.tester import RelationTester, WithoutLabels


def reference(student: Array, teacher: Array, labels: Any, max_tokens: int = 1024) -> float:
    losses = []
    for fs, ft, valid in images(student, teacher, labels):
        (s, ok), (t, _) = (tokens(f, valid, max_tokens) for f in (fs, ft))
        tokens_left = np.flatnonzero(ok)
        losses.append(mean([(s[i] @ s[j] - t[i] @ t[j]) ** 2 for i in tokens_left for j in tokens_left]))
    return mean(losses)


class TestPairwise(WithoutLabels, RelationTester):
    loss = staticmethod(pairwise_loss)
    reference = staticmethod(reference)


class TestPairwiseOfPooledTokens(WithoutLabels, RelationTester):
    loss = staticmethod(partial(pairwise_loss, max_tokens=9))
    reference = staticmethod(partial(reference, max_tokens=9))
