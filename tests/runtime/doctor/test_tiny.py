"""The tiny network: the committed file is what its script makes, and NumPy says the same."""

from __future__ import annotations

import numpy as np
import onnx

from kd_deploy.export.onnx_graph import OPSET
from kd_deploy.runtime.doctor.tiny import MODEL, expected, frame, tiny_bundle
from kd_deploy.runtime.model import open_model
from tests.runtime.doctor.make_tiny import FILE, model


def test_the_file_is_what_the_script_makes() -> None:
    assert MODEL.samefile(FILE)
    committed, made = onnx.load(MODEL), model()
    made.ClearField("producer_version")
    committed.ClearField("producer_version")
    assert committed == made
    assert MODEL.stat().st_size < 1000


def test_it_is_typed_as_a_bundles_models_are() -> None:
    network = onnx.load(MODEL)
    (opset,) = network.opset_import
    assert (opset.version, network.ir_version) == (OPSET, 8)
    ends = [*network.graph.input, *network.graph.output]
    assert [(end.name, end.type.tensor_type.elem_type) for end in ends] == [
        ("frame", onnx.TensorProto.UINT8),
        ("mask", onnx.TensorProto.UINT8),
    ]


def test_a_backend_gives_the_mask_that_numpy_gives() -> None:
    with open_model(tiny_bundle()) as network:
        np.testing.assert_array_equal(network.run(frame()), expected(frame()))


def test_every_class_is_there_and_no_pixel_is_close() -> None:
    assert np.bincount(expected(frame()).ravel()).min() > 8
    ordered = np.sort(frame().astype(int), axis=-1)
    assert (ordered[..., 2] - ordered[..., 1]).min() == 32
