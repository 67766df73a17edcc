"""The deployed graph: a BGR frame in, a mask out."""

from __future__ import annotations

import torch

from kd_deploy.export.graph import DeployedGraph
from kd_deploy.models.segmenter import Segmenter


@torch.no_grad()
def test_the_frame_is_bgr_and_the_mask_is_its_prediction(segmenter: Segmenter) -> None:
    frame = torch.randint(0, 256, (2, 50, 70, 3), dtype=torch.uint8)
    mask = DeployedGraph(segmenter)(frame)
    assert mask.shape == (2, 50, 70)
    assert mask.dtype == torch.uint8
    rgb = frame.flip(-1).permute(0, 3, 1, 2).float()
    assert torch.equal(mask.long(), segmenter.predict(rgb))
    assert (mask.long() != segmenter.predict(rgb.flip(1))).any()  # the order of the channels matters
