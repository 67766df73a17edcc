"""Class ids from several views of a picture: a sliding window, scales and a flip.

The protocol of MMSegmentation, by which many papers score: logits of overlapping windows are averaged
(`EncoderDecoder.slide_inference`), each scale's and flip's are brought back to the picture's size, and over these
the softmax probabilities are averaged (`SegTTAModel.merge_preds`).
"""

from __future__ import annotations

from itertools import product

import torch.nn.functional as F
from torch import Tensor

from kd_deploy.config.views import Views
from kd_deploy.models.segmenter import Segmenter


def predict(segmenter: Segmenter, images: Tensor, views: Views) -> Tensor:
    """Class ids (B, H, W) int64 of pictures (B, 3, H, W) float RGB, 0 to 255, of any size.

    A single view needs no probabilities: the argmax is of its logits, so that one view of the whole picture is
    `segmenter.predict`. Several go one at a time into one sum.
    """
    (scale, flipped), *others = product(views.scales, (False, True) if views.flip else (False,))
    scores = _logits(segmenter, images, views, scale, flipped)
    if others:
        scores = scores.softmax(dim=1)
    for scale, flipped in others:
        scores += _logits(segmenter, images, views, scale, flipped).softmax(dim=1)
    return scores.argmax(dim=1)


def _logits(segmenter: Segmenter, images: Tensor, views: Views, scale: float, flipped: bool) -> Tensor:
    """(B, C, H, W) of one scale, mirrored or not, brought back to the pictures' size and side."""
    height, width = images.shape[-2:]
    seen = _resized(images, (_scaled(height, scale), _scaled(width, scale)))
    logits = _windows(segmenter, seen.flip(-1) if flipped else seen, views)
    return _resized(logits.flip(-1) if flipped else logits, (height, width), antialias=False)


def _scaled(side: int, scale: float) -> int:
    return max(1, int(side * scale + 0.5))


def _resized(x: Tensor, size: tuple[int, int], *, antialias: bool = True) -> Tensor:
    """Bilinear; antialiasing makes a difference where a picture shrinks, and none where it grows."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=antialias)


def _windows(segmenter: Segmenter, images: Tensor, views: Views) -> Tensor:
    """(B, C, H, W): at every pixel the mean logits of the windows that hold it."""
    if views.window is None or views.stride is None:
        return segmenter.logits(images)
    (height, width), sides = views.window, images.shape[-2:]
    corners = product(*map(_starts, sides, views.window, views.stride))
    total = images.new_zeros(len(images), segmenter.taps["logits"].channels, *sides)
    times = images.new_zeros(sides)
    for top, left in corners:
        window = (..., slice(top, top + height), slice(left, left + width))
        total[window] += segmenter.logits(images[window])
        times[window] += 1
    return total.div_(times)


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin; the last is moved inward to end with the picture. A picture that is smaller has one."""
    last = max(side - window, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]
