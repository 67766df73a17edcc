"""How the weight of a term moves over the training."""

import math


def factor(kind: str, start: float, end: float, progress: float) -> float:
    """The factor on a term's weight at `progress` = step / total steps, in [0, 1].

    `constant` stays at `start`; `linear` and `cosine` (half a period, flat at both ends) go from `start` at
    0 to `end` at 1, exactly. AICSD's adaptive loss weighting (arXiv 2308.04243) is `linear` 0 -> 1 on the
    supervised and inter-class terms and `linear` 1 -> 0 on the pixel KD term.

    Raises ValueError for another kind or a progress outside [0, 1].
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}, not in [0, 1]")
    if kind == "constant":
        return start
    if kind == "linear":
        share = progress
    elif kind == "cosine":
        share = (1 - math.cos(math.pi * progress)) / 2
    else:
        raise ValueError(f"unknown schedule {kind!r}: constant, linear or cosine")
    return (1 - share) * start + share * end
