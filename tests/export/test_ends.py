"""What a graph takes: any height and width that are multiples, or a fixed number of frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kd_deploy.config.load import load_recipe
from kd_deploy.deploy import Wanted, export_run
from kd_deploy.export import bundle as writing
from kd_deploy.export import operators
from kd_deploy.export.channels_last import ChannelsLastGraph
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.onnx_graph import Ends, write_onnx
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import load
from kd_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import GateFailedError, UserError
from kd_deploy.runtime.model import open_model
from tests.conftest import draw
from tests.export.conftest import speaking

FREE = Ends((64, 96), multiple=32, least=32)


def test_the_shape_and_the_manifests_words() -> None:
    assert Ends((4, 6)).shape() == [None, 4, 6]
    assert Ends((4, 6), batch=2).shape() == [2, 4, 6]
    assert FREE.shape() == [None, None, None]
    assert Ends((4, 6)).to_json()["batch"] == "dynamic"
    assert Ends((4, 6), batch=2).to_json()["batch"] == 2
    assert "multiple" not in Ends((4, 6)).to_json()
    words = FREE.to_json()
    assert (words["size"], words["multiple"], words["least"]) == ([64, 96], 32, 32)


@pytest.fixture(scope="module")
def folded(trained: Path) -> Segmenter:
    network = load_recipe(str(trained / "recipe.yaml")).student
    return load(network, str(trained / "student.safetensors"), 11, key="student").folded()


@pytest.fixture(scope="module")
def free(folded: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both float graphs with free height and width."""
    folder = tmp_path_factory.mktemp("free")
    write_onnx(DeployedGraph(folded), FREE, folder / "model.fp32.onnx", {})
    write_onnx(ChannelsLastGraph(folded), FREE, folder / "model.fp32-cpu.onnx", {})
    return folder


@pytest.mark.parametrize("name", ["fp32", "fp32-cpu"])
def test_free_sizes_give_pytorchs_masks(free: Path, folded: Segmenter, name: str) -> None:
    session = onnxruntime.InferenceSession(free / f"model.{name}.onnx", providers=["CPUExecutionProvider"])
    graph = DeployedGraph(folded)
    for shape in ((1, 32, 32), (1, 64, 96), (2, 32, 128), (3, 160, 96)):
        frames = np.stack([draw(seed, shape[1:])[0] for seed in range(shape[0])])
        (found,) = session.run(["mask"], {"frame": frames})
        with torch.no_grad():
            expected = graph(torch.from_numpy(frames)).numpy()
        assert found.shape == shape
        assert (found == expected).mean() > 0.999
        assert len(np.unique(expected)) > 1


def test_the_smallest_promised_size_is_more_than_one_multiple(tmp_path: Path) -> None:
    """Smaller frames are padded by PyTorch; a traced graph would say something else of them."""
    segmenter = speaking("deeplabv3plus", "resnet18").folded()
    least = segmenter.least
    assert (segmenter.stride, least) == (16, 32)
    write_onnx(DeployedGraph(segmenter), Ends((48, 64), None, 16, least), tmp_path / "m.onnx", {})
    assert operators.check(tmp_path / "m.onnx") == []
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for size in ((least, least), (least, least + 16)):
        frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
        with torch.no_grad():
            expected = DeployedGraph(segmenter)(torch.from_numpy(frames)).numpy()
        assert (session.run(["mask"], {"frame": frames})[0] == expected).mean() > 0.999
        assert len(np.unique(expected)) > 1


def test_tensorrts_parser_reads_every_node_of_a_free_size(free: Path) -> None:
    """The sides are asked of the float frame: TensorRT casts UINT8 before any other node."""
    assert operators.check(free / "model.fp32.onnx") == []
    shapes = [n for n in onnx.load(free / "model.fp32.onnx").graph.node if n.op_type == "Shape"]
    assert shapes


def test_a_bundle_of_free_size(
    trained: Path, free: Path, traced: Callable[[Path], None], tmp_path: Path
) -> None:
    traced(free)
    bundle = export_run(trained, tmp_path / "bundle", Wanted(free_size=True))
    assert (bundle.manifest["input"]["multiple"], bundle.manifest["input"]["least"]) == (32, 32)
    assert bundle.size == (64, 96)
    readme = (bundle.path / "README.md").read_text()
    assert "uint8 (N, H, W, 3)" in readme
    assert "FILE.engine --shapes=frame:Nx64x96x3\n" in readme
    with open_model(bundle) as model:
        for _, frame, mask in bundle.golden():
            assert (model.run(frame[None])[0] == mask).mean() > 0.999


@pytest.mark.parametrize("wrong", [(96, 160), (32, 32)])
def test_a_graph_that_does_not_hold_at_another_size_is_not_written(
    wrong: tuple[int, int],
    trained: Path,
    free: Path,
    traced: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OneSize(OnnxRuntimeCpu):
        def _run(self, frames: Any) -> Any:
            masks = super()._run(frames)
            return np.full_like(masks, 10) if frames.shape[1:3] == wrong else masks

    traced(free)
    monkeypatch.setattr(writing, "OnnxRuntimeCpu", OneSize)
    at = "x".join(map(str, wrong))
    with pytest.raises(GateFailedError, match=rf"^fp32: at {at} [\d.]+ % of a golden frame's pixels agree"):
        export_run(trained, tmp_path / "bundle", Wanted(free_size=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((50, 96), "64x96"), ((32, 32), "64x64"), ((16, 64), "64x64"), ((96, 100), "96x128")],
)
@pytest.mark.usefixtures("untraceable")
def test_a_free_size_starts_from_two_multiples(
    size: tuple[int, int], nearest: str, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        export_run(trained, tmp_path / "bundle", Wanted(size=size, free_size=True))
    assert str(caught.value) == (
        f"--dynamic size: {size[0]}x{size[1]}: where the size is free, the export of this network starts from "
        f"multiples of 32, 64 or more; pass --size {nearest}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_batch_stands_everywhere(pairs: Path) -> None:
    assert Bundle.open(pairs).batch == 2
    readme = (pairs / "README.md").read_text()
    assert "uint8 (2, 64, 96, 3)" in readme
    assert "FILE.engine\n" in readme  # every engine has the one shape
    for file in ("model.fp32.onnx", "model.fp32-cpu.onnx"):
        session = onnxruntime.InferenceSession(pairs / file, providers=["CPUExecutionProvider"])
        (frame,), (mask,) = session.get_inputs(), session.get_outputs()
        assert (frame.shape, mask.shape) == ([2, 64, 96, 3], [2, 64, 96])
        written = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
        assert written["input"]["batch"] == 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_frames_goes_through_a_fixed_batch(pairs: Path, count: int) -> None:
    golden = list(Bundle.open(pairs).golden()) * 2
    frames, masks = (np.stack([entry[i] for entry in golden[:count]]) for i in (1, 2))
    with open_model(pairs) as model:
        found = model.run(frames)
    assert found.shape == masks.shape
    assert (found == masks).mean() > 0.999
    assert count == 1 or (masks[0] != masks[1]).any()  # else their order would not matter
