"""The ONNX file: opset, ends, facts, and PyTorch's masks at any batch and size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.onnx_graph import OPSET, Ends, check
from tests.export.conftest import STUDENT_FACTS, STUDENT_SIZE


def test_opset_ends_and_facts(student: tuple[DeployedGraph, Path]) -> None:
    model = onnx.load(student[1])
    assert OPSET == 18
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    session = onnxruntime.InferenceSession(str(student[1]), providers=["CPUExecutionProvider"])
    (frame,), (mask,) = session.get_inputs(), session.get_outputs()
    assert (frame.name, frame.type, frame.shape[1:]) == ("frame", "tensor(uint8)", [90, 120, 3])
    assert (mask.name, mask.type, mask.shape[1:]) == ("mask", "tensor(uint8)", [90, 120])
    assert isinstance(frame.shape[0], str)
    assert frame.shape[0] == mask.shape[0]
    properties = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert properties == STUDENT_FACTS
    assert [p.name for p in student[1].parent.iterdir()] == ["model.onnx"]  # no weights beside it


def test_batch_norm_is_in_the_convolutions(student: tuple[DeployedGraph, Path]) -> None:
    operators = {node.op_type for node in onnx.load(student[1]).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_masks_are_pytorchs(student: tuple[DeployedGraph, Path], batch: int) -> None:
    graph, file = student
    frames = np.random.default_rng(batch).integers(0, 256, (batch, *STUDENT_SIZE, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (masks,) = session.run(["mask"], {"frame": frames})
    with torch.no_grad():
        expected = graph(torch.from_numpy(frames)).numpy()
    assert masks.shape == expected.shape
    assert masks.dtype == np.uint8
    assert (masks == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1


def test_a_file_that_is_not_what_was_promised(student: tuple[DeployedGraph, Path], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the graph's ends are"):
        check(student[1], Ends((64, 64)))
    model = onnx.load(student[1])
    model.opset_import[0].version = 19
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RuntimeError, match="asked for opset 18, the exporter wrote"):
        check(tmp_path / "model.onnx", Ends(STUDENT_SIZE))
