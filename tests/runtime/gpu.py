"""A machine with a GPU and TensorRT, both fake, and a bundle small enough to build in a test: fixtures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd_deploy.runtime.bundle import SCHEMA, Bundle, sha256
from tests.runtime import fake_cuda, fake_tensorrt

SIZE = (16, 24)
CLASSES = ("sky", "road", "car")

SOURCE = {
    "role": "student",
    "terms": ["ce"],
    "seed": 0,
    "iterations": 8,
    "weights_of_step": 8,
    "miou": 50.0,
    "boundary_iou": None,
    "commit": None,
}
"""What a manifest says of a run."""

_FAKE = """\
import json, os, sys
from tests.runtime import fake_cuda, fake_tensorrt
world = json.loads(os.environ["FAKE_GPU"])
sys.modules["tensorrt"] = fake_tensorrt.module(**world)
sys.modules["cuda.bindings.runtime"] = fake_cuda.module()
"""


class FakeGpu:
    """The fake modules in use.

    Attributes:
        trt: the fake `tensorrt`.
        cuda: the fake `cuda.bindings.runtime`.
    """

    trt: ModuleType
    cuda: ModuleType

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        (folder / "tensorrt.py").write_text(_FAKE)  # for child processes
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self()

    def __call__(self, cuda: dict[str, Any] | None = None, **scenario: Any) -> None:
        """Replace the modules by those of another scenario (see fake_tensorrt.Scenario, fake_cuda.module)."""
        self.trt, self.cuda = fake_tensorrt.module(**scenario), fake_cuda.module(**(cuda or {}))
        self._monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        self._monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", self.cuda)
        self._monkeypatch.setenv("FAKE_GPU", json.dumps(scenario))

    @property
    def builds(self) -> list[dict[str, Any]]:
        """What the builds of this process were asked for."""
        builds: list[dict[str, Any]] = self.trt._builds
        return builds


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> FakeGpu:
    """An Orin with TensorRT 10.3."""
    return FakeGpu(monkeypatch, tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`tensorrt` is installed, one of its libraries is not: an ImportError that is no ModuleNotFoundError."""

    class Finder:
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:
            if name == "tensorrt":
                raise ImportError(
                    "libnvinfer.so.10: cannot open shared object file: No such file or directory"
                )

    def remove() -> None:
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])

    return remove


def write_network(path: Path, kind: int, batch: int | str = "N") -> None:
    """Two convolutions in a precision between a uint8 frame and a uint8 mask."""
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float16
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(0, 0.02, (4, 3, 3, 3)).astype(dtype),
        "w2": rng.normal(0, 1, (3, 4, 1, 1)).astype(dtype),
        "mean": np.array([100, 120, 140], dtype).reshape(1, 3, 1, 1),
    }
    make = helper.make_node
    nodes = [
        make("Cast", ["frame"], ["x"], "cast", to=kind),
        make("Transpose", ["x"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        make("Sub", ["t", "mean"], ["s"], "sub"),
        make("Conv", ["s", "w1"], ["c"], "conv_1", pads=[1, 1, 1, 1]),
        make("Relu", ["c"], ["r"], "relu"),
        make("Conv", ["r", "w2"], ["l"], "conv_2"),
        make("ArgMax", ["l"], ["a"], "argmax", axis=1, keepdims=0),
        make("Cast", ["a"], ["mask"], "narrow", to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, [batch, *SIZE, 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, [batch, *SIZE])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_bundle(path: Path, batch: int | str = "N") -> Bundle:
    """A bundle of `write_network` in fp32 and fp16, with two golden frames."""
    (path / "golden").mkdir(parents=True)
    models = {"fp32": "model.fp32.onnx", "fp16": "model.fp16.onnx"}
    for (_, name), kind in zip(models.items(), (TensorProto.FLOAT, TensorProto.FLOAT16), strict=True):
        write_network(path / name, kind, batch)
    write_network(path / "any.onnx", TensorProto.FLOAT)
    session = onnxruntime.InferenceSession(path / "any.onnx", providers=["CPUExecutionProvider"])
    (path / "any.onnx").unlink()
    golden = []
    for number in range(2):
        rough = np.random.default_rng(number).integers(0, 256, (4, 6, 3), np.uint8)
        frame = cv2.resize(rough, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        mask = session.run(["mask"], {"frame": frame[None]})[0][0]
        assert len(np.unique(mask)) > 1
        entry = {key: f"golden/{number}.{key}.png" for key in ("frame", "mask")}
        cv2.imwrite(str(path / entry["frame"]), frame)
        cv2.imwrite(str(path / entry["mask"]), mask)
        golden.append({"name": f"{number}.png", **entry})
    files = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    manifest = {
        "schema": SCHEMA,
        "classes": CLASSES,
        "palette": [[0, 0, 0], [255, 0, 0], [0, 255, 0]],
        "input": {"name": "frame", "size": SIZE, "batch": "dynamic" if batch == "N" else batch},
        "output": {"name": "mask"},
        "ignore": 255,
        "opset": 18,
        "models": models,
        "precisions": {},
        "golden": golden,
        "reference": "reference.safetensors",
        "network": {"arch": "deeplabv3plus", "encoder": "mobilenet_v2"},
        "thresholds": {"max_miou_drop": 0.5, "min_pixel_agreement": {"fp32": 98.0}},
        "data": {"format": "synthetic"},
        "source": SOURCE,
        "tools": {},
        "created": "2026-01-01T00:00:00+00:00",
        "files": {name: sha256(path / name) for name in files},
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(path)


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    """A bundle of two convolutions with a free batch."""
    return write_bundle(tmp_path / "tiny")
