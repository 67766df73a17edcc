"""Masks of a candidate that cannot be any: they are wrong, and must not keep the gate from saying so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kd_deploy.runtime.segment import Mask


def why_unfit(mask: Mask, right: Mask, classes: int) -> str | None:
    """Why a candidate's mask, where the reference's is `right`, belongs to no frame or class; None if it does."""
    if mask.shape != right.shape:
        own, other = ("x".join(map(str, shape)) for shape in (mask.shape, right.shape))
        return f"the mask is {own}, the frame {other}"
    if mask.size and (highest := int(mask.max())) >= classes:
        return f"class id {highest}, the classes end at {classes - 1}"
    return None


def scorable(mask: Mask, truth: Mask, classes: int) -> Mask:
    """`mask` with a class that is not the truth's where its id is none, and all over if the shapes differ.

    Of a single class there is no other; `why_unfit` alone fails it then.
    """
    if why_unfit(mask, truth, classes) is None:
        return mask
    wrong: Mask = (truth + np.uint8(1)) % np.uint8(classes)
    return np.where(mask < classes, mask, wrong) if mask.shape == truth.shape else wrong


def first_of(reasons: Sequence[str]) -> list[str]:
    """The first of many reasons alike, and how many frames more have one."""
    more = f" (and {len(reasons) - 1} frames more do not fit)" if len(reasons) > 1 else ""
    return [f"{reasons[0]}{more}"] if reasons else []
