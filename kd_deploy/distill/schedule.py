"""How the weight of a term moves over the training."""

from __future__ import annotations

import math

from kd_deploy.config.terms import Schedule


def factor(schedule: Schedule, step: int, total: int) -> float:
    """The factor on a term's weight at `step` (0 is the first) of a run of `total` steps.

    It is `start` up to the first step of `over` and `end` from the last one on; without `over` these are 0
    and `total`. In between, with s the share that is done: `linear` and `warmup` go straight, `cosine` along half
    a period, flat at both ends, and `poly` as end + (start - end) (1 - s)^power. `constant` stays at `start`.

    AICSD's adaptive loss weighting (arXiv 2308.04243) is `linear` 0 -> 1 on the supervised and the inter-class
    term and `linear` 1 -> 0 on the pixel KD term.

    Raises ValueError for a step outside the run.
    """
    if not 0 <= step <= total:
        raise ValueError(f"step {step} is outside a run of {total}")
    if schedule.kind == "constant":
        return schedule.start
    first, last = schedule.over or (0, total)
    done = min(max((step - first) / (last - first), 0.0), 1.0)
    left = 1.0 - done
    if schedule.kind == "cosine":
        left = (1 + math.cos(math.pi * done)) / 2
    elif schedule.kind == "poly":
        left = left**schedule.power
    return left * schedule.start + (1 - left) * schedule.end
