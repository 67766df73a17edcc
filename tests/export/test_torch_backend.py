"""The reference backend, over a live network and over a bundle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.segment import segment_batch


@pytest.mark.parametrize("training", [True, False])
def test_running_neither_trains_a_network_nor_leaves_it_in_another_mode(training: bool) -> None:
    segmenter = build("deeplabv3plus", "mobilenet_v2", 4).train(training)
    before = {key: value.clone() for key, value in segmenter.network.state_dict().items()}
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    model = TorchModel(segmenter, (32, 48), torch.device("cpu"))
    assert (model.run(frames) == model.run(frames)).all()  # no dropout
    assert model.run(frames[:, :, ::-1]).shape == (2, 32, 48)  # a view that runs backwards
    assert {module.training for module in segmenter.modules()} == {training}
    after = segmenter.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_without_a_size_every_frame_keeps_its_own(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((33, 50), (64, 32), (48, 48))]
    free = TorchModel(segmenter, None, torch.device("cpu"))
    for image, mask in zip(images, segment_batch(free, images), strict=True):
        fixed = TorchModel(segmenter, (image.shape[0], image.shape[1]), torch.device("cpu"))
        assert (mask == fixed.run(image[None])[0]).all()
        assert len(np.unique(mask)) > 1
    with pytest.raises(UserError, match=r"expected uint8 \(N, H, W, 3\) in BGR, got uint8 \(33, 50, 3\)"):
        free.run(images[0])


def test_the_reference_is_fp32_alone(deeplab: Any) -> None:
    with pytest.raises(UserError, match="--precision fp16: the torch backend is the fp32 reference"):
        open_model(deeplab.bundle, backend="torch", precision="fp16")


def test_a_bundle_brings_its_own_weights(deployed: Any) -> None:
    bundle = Bundle.open(deployed.bundle)
    with open_model(bundle, backend="torch") as model:
        for _, frame, mask in bundle.golden():
            assert (model.run(frame[None])[0] == mask).all()
        assert (model.describe().backend, model.describe().precision) == ("torch", "fp32")
    weights, reference = (
        load_file(file)
        for file in (deployed.run / "student.safetensors", bundle.file("reference.safetensors"))
    )
    assert all(torch.equal(weights[key], reference[key]) for key in weights | reference)
