"""The network as it is deployed: the frame as OpenCV decodes it in, the mask out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kd_deploy.models.segmenter import Segmenter


class DeployedGraph(nn.Module):
    """`frame` (N, H, W, 3) uint8 BGR -> `mask` (N, H, W) uint8; all between is inside."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, frame: Tensor) -> Tensor:
        bgr = frame.float().permute(0, 3, 1, 2).contiguous()  # TensorRT wants the cast first
        rgb = torch.cat((bgr[:, 2:3], bgr[:, 1:2], bgr[:, 0:1]), dim=1)
        return self.segmenter.predict(rgb).to(torch.uint8)
