"""The network as it is deployed: the frame as OpenCV decodes it in, the mask out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_deploy.config.views import WHOLE, Views
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.views import predict


class DeployedGraph(nn.Module):
    """`frame` (N, H, W, 3) uint8 BGR -> `mask` (N, H, W) uint8; all between is inside.

    Attributes:
        views: what the mask is made of; a network is deployed with one, the whole frame.
    """

    def __init__(self, segmenter: Segmenter, views: Views = WHOLE) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.views = views

    def forward(self, frame: Tensor) -> Tensor:
        mask = predict(self.segmenter, rgb(frame), self.views)
        return mask.float().to(torch.uint8)  # TensorRT makes uint8 of floats alone


def rgb(frame: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 BGR -> (N, 3, H, W) float32 RGB, 0 to 255."""
    bgr = frame.float().permute(0, 3, 1, 2).contiguous()  # TensorRT wants the cast first
    return torch.cat((bgr[:, 2:3], bgr[:, 1:2], bgr[:, 0:1]), dim=1)
