"""Networks whose masks say something although nobody trained them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kd_deploy.config.architectures import Arch
from kd_deploy.export import precisions
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.onnx_graph import Ends, write_onnx
from kd_deploy.models.segmenter import Segmenter, build


@pytest.fixture(
    scope="package",
    params=[("deeplabv3plus", "mobilenet_v2"), ("segformer", "mit_b0")],
    ids=lambda student: student[0],
)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """Both students, random, of 7 classes."""
    return speaking(*request.param)


STUDENT_SIZE = (90, 120)  # no multiple of 16 or 32
STUDENT_FACTS = {"classes": ["road", "sky"], "input": {"size": list(STUDENT_SIZE)}}


@pytest.fixture(scope="package")
def student(segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> tuple[DeployedGraph, Path]:
    """Both students in turn: the graph, and its ONNX file in a folder of its own; read only."""
    graph = DeployedGraph(segmenter.folded())
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(graph, Ends(STUDENT_SIZE), file, STUDENT_FACTS)
    return graph, file


@pytest.fixture
def untraceable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No graph is traced: what is refused was refused before the work."""

    def fail(*_: object) -> None:
        raise AssertionError("it came to the work")

    monkeypatch.setattr(precisions, "write_onnx", fail)


def speaking(arch: Arch, encoder: str) -> Segmenter:
    """A random network of 7 classes, each class's logits brought to mean 0 and deviation 1."""
    torch.manual_seed(0)
    built = build(arch, encoder, 7).eval()
    head = built.network.get_submodule("segmentation_head.0")
    with torch.no_grad():
        logits = built(torch.randint(0, 256, (2, 3, 96, 128)).float()).logits
        mean, deviation = (f((0, 2, 3)) for f in (logits.mean, logits.std))
        head.bias.copy_((head.bias - mean) / deviation)
        head.weight.div_(deviation.view(-1, 1, 1, 1))
    return built
