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
from kd_deploy.export.onnx_graph import OPSET, Ends, check, write_onnx
from kd_deploy.models.segmenter import Segmenter

SIZE = (90, 120)  # no multiple of 16 or 32
FACTS = {"classes": ["road", "sky"], "input": {"size": list(SIZE)}}


@pytest.fixture(scope="module")
def exported(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> tuple[DeployedGraph, Path]:
    graph = DeployedGraph(segmenter.folded())
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(graph, Ends(SIZE), file, FACTS)
    return graph, file


def test_opset_ends_and_facts(exported: tuple[DeployedGraph, Path]) -> None:
    model = onnx.load(exported[1])
    assert OPSET == 18
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    session = onnxruntime.InferenceSession(str(exported[1]), providers=["CPUExecutionProvider"])
    (frame,), (mask,) = session.get_inputs(), session.get_outputs()
    assert (frame.name, frame.type, frame.shape[1:]) == ("frame", "tensor(uint8)", [90, 120, 3])
    assert (mask.name, mask.type, mask.shape[1:]) == ("mask", "tensor(uint8)", [90, 120])
    assert isinstance(frame.shape[0], str)
    assert frame.shape[0] == mask.shape[0]
    properties = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert properties == FACTS
    assert [p.name for p in exported[1].parent.iterdir()] == ["model.onnx"]  # no weights beside it


def test_batch_norm_is_in_the_convolutions(exported: tuple[DeployedGraph, Path]) -> None:
    operators = {node.op_type for node in onnx.load(exported[1]).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_masks_are_pytorchs(exported: tuple[DeployedGraph, Path], batch: int) -> None:
    graph, file = exported
    frames = np.random.default_rng(batch).integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (masks,) = session.run(["mask"], {"frame": frames})
    with torch.no_grad():
        expected = graph(torch.from_numpy(frames)).numpy()
    assert masks.shape == expected.shape
    assert masks.dtype == np.uint8
    assert (masks == expected).mean() > 0.999
    assert len(np.unique(expected)) > 1


def test_a_file_that_is_not_what_was_promised(exported: tuple[DeployedGraph, Path], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the graph's ends are"):
        check(exported[1], Ends((64, 64)))
    model = onnx.load(exported[1])
    model.opset_import[0].version = 19
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RuntimeError, match="asked for opset 18, the exporter wrote"):
        check(tmp_path / "model.onnx", Ends(SIZE))
