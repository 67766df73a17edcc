from functools import partial
from typing import Any

from kd_deploy.distill.methods.cirkd import minibatch_loss
from tests.kd_deploy.distill.reference import Array, images, kl, mean, tokens
from tests.kd_deploy.distill.tester import RelationTester, WithoutLabels


def reference(student: Array, teacher: Array, labels: Any, tau: float = 0.1, max_tokens: int = 1024) -> float:
    left = []
    for fs, ft, valid in images(student, teacher, labels):
        (s, ok), (t, _) = (tokens(f, valid, max_tokens) for f in (fs, ft))
        left.append((s[ok], t[ok]))
    losses = []
    for sa, ta in left:
        for sb, tb in left:
            rows = [kl(tb @ t / tau, sb @ s / tau) for s, t in zip(sa, ta, strict=True)]
            losses.append(mean(rows))
    return mean(losses)


class TestMinibatch(WithoutLabels, RelationTester):
    loss = staticmethod(minibatch_loss)
    reference = staticmethod(reference)
    crosses_images = True


class TestMinibatchOfPooledTokens(WithoutLabels, RelationTester):
    loss = staticmethod(partial(minibatch_loss, tau=0.5, max_tokens=9))
    reference = staticmethod(partial(reference, tau=0.5, max_tokens=9))
    crosses_images = True
