"""The Triton repository: held to Triton's schema, run with ONNX Runtime as it says, and refused where it must be."""

from __future__ import annotations

import ast
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from kd_deploy.export.triton import write_repository
from kd_deploy.runtime.bundle import SCHEMA, Bundle, sha256
from kd_deploy.runtime.engines.key import BuildOptions, EngineKey
from kd_deploy.runtime.engines.store import engine_path, keep
from kd_deploy.runtime.errors import UserError
from tests.runtime.gpu import SOURCE

SIZE = (4, 6)


def make_bundle(path: Path, batch: int | str = "dynamic", precision: str = "fp32") -> Bundle:
    """A bundle whose network is the brightest channel."""
    free = "N" if batch == "dynamic" else batch
    graph = f"""<ir_version: 8, opset_import: ["": 18]>
        main (uint8[{free},4,6,3] frame) => (uint8[{free},4,6] mask) {{
        a = Cast <to=1>(frame) b = ArgMax <axis=3, keepdims=0>(a) mask = Cast <to=2>(b) }}"""
    path.mkdir()
    onnx.save(onnx.parser.parse_model(graph), path / "model.onnx")
    manifest = {
        "schema": SCHEMA,
        "classes": ["road", 'sky "high"'],
        "palette": [[0, 0, 0], [1, 1, 1]],
        "ignore": 255,
        "input": {"name": "frame", "size": list(SIZE), "batch": batch},
        "output": {"name": "mask"},
        "opset": 18,
        "models": {precision: "model.onnx"},
        "precisions": {},
        "network": {"arch": "segformer", "encoder": "mit_b0"},
        "files": {"model.onnx": sha256(path / "model.onnx")},
        "golden": [{"name": "a", "frame": "golden/0.frame.png", "mask": "golden/0.mask.png"}],
        "reference": "reference.safetensors",
        "thresholds": {"max_miou_drop": 0.5, "min_pixel_agreement": {"fp32": 99.9}},
        "data": {"format": "synthetic"},
        "source": SOURCE,
        "tools": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle.open(path)


def add_engine(bundle: Bundle, gpu: str = "Orin", batch: tuple[int, int, int] | None = (1, 2, 4)) -> Path:
    key = EngineKey(
        bundle.manifest["files"]["model.onnx"],
        "10.3.0",
        "linux-aarch64",
        gpu,
        "8.7",
        16,
        "fp32",
        SIZE,
        BuildOptions(batch=batch),
    )
    file = engine_path(bundle, key)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gpu.encode())
    keep(file, key, {"seconds": 60.0, "golden": {"pixel_agreement": 100.0}})
    return file


def config(model: Path) -> Any:
    """The model's configuration, read as Triton reads it."""
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), schema.ModelConfig())


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_free_batch_on_onnx_runtime(tmp_path: Path) -> None:
    bundle, folder = make_bundle(tmp_path / "bundle"), tmp_path / "deep" / "triton"
    repository = write_repository(
        bundle, folder, precisions=["fp32"], backends=["onnxruntime"], max_batch=6, instances=2
    )
    name = "segformer-mit_b0-fp32"
    assert [model.name for model in repository.served] == [name]
    assert repository.left_out == ()
    assert tree(folder) == {
        *(f"{name}/{f}" for f in ("README.md", "config.pbtxt", "labels.txt", "1/model.onnx")),
    }
    assert (folder / name / "1" / "model.onnx").read_bytes() == bundle.model_file("fp32").read_bytes()
    assert (folder / name / "labels.txt").read_text() == 'road\nsky "high"\n'
    found = config(folder / name)
    assert (found.name, found.backend, found.max_batch_size) == (name, "onnxruntime", 6)
    (frame,), (mask,), (group,) = found.input, found.output, found.instance_group
    assert (frame.name, list(frame.dims)) == ("frame", [4, 6, 3])
    assert (mask.name, list(mask.dims), mask.label_filename) == ("mask", [4, 6], "labels.txt")
    assert (
        frame.data_type
        == mask.data_type
        == found.input[0].DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name["TYPE_UINT8"].number
    )
    assert (group.count, group.Kind.Name(group.kind)) == (2, "KIND_GPU")
    assert found.version_policy.latest.num_versions == 1
    assert list(found.dynamic_batching.preferred_batch_size) == [2, 4, 6]
    assert found.dynamic_batching.max_queue_delay_microseconds == 2000


def test_batches_of_one_are_not_waited_for(tmp_path: Path) -> None:
    write_repository(
        make_bundle(tmp_path / "bundle"), tmp_path / "t", precisions=["fp32"], max_batch=1, name="street"
    )
    found = config(tmp_path / "t" / "street-fp32")
    assert found.max_batch_size == 1
    assert not found.HasField("dynamic_batching")


def test_a_fixed_batch_stands_in_the_shapes(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", batch=2)
    write_repository(bundle, tmp_path / "t", precisions=["fp32"], max_batch=2, device="cpu")
    found = config(tmp_path / "t" / "segformer-mit_b0-fp32")
    assert found.max_batch_size == 0
    assert (list(found.input[0].dims), list(found.output[0].dims)) == ([2, 4, 6, 3], [2, 4, 6])
    assert not found.HasField("dynamic_batching")
    assert found.instance_group[0].kind == found.instance_group[0].KIND_CPU
    readme = tmp_path / "t" / "segformer-mit_b0-fp32" / "README.md"
    assert "A request carries 2 frames." in readme.read_text()


def test_int8_for_the_cpu_runs_there(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", precision="int8-cpu")
    repository = write_repository(bundle, tmp_path / "t", precisions=["int8-cpu"], max_batch=2)
    assert repository.left_out == ()  # nobody builds an engine of it
    assert "--gpus" not in (tmp_path / "t" / "segformer-mit_b0-int8-cpu" / "README.md").read_text()
    with pytest.raises(UserError, match="nothing to serve; name a precision that these backends run"):
        write_repository(bundle, tmp_path / "u", precisions=["int8-cpu"], backends=["tensorrt"], max_batch=2)
    group = config(tmp_path / "t" / "segformer-mit_b0-int8-cpu").instance_group[0]
    assert group.kind == group.KIND_CPU


@pytest.mark.parametrize("batch", ["dynamic", 2])
def test_the_model_runs_with_the_shapes_that_are_stated(tmp_path: Path, batch: int | str) -> None:
    write_repository(
        make_bundle(tmp_path / "bundle", batch), tmp_path / "t", precisions=["fp32"], max_batch=2
    )
    runs_as_stated(tmp_path / "t" / "segformer-mit_b0-fp32")


def test_a_students_model_runs_with_the_shapes_that_are_stated(deeplab: Any, tmp_path: Path) -> None:
    write_repository(Bundle.open(deeplab.bundle), tmp_path / "t", precisions=["fp32"], max_batch=2)
    runs_as_stated(tmp_path / "t" / "deeplabv3plus-mobilenet_v2-fp32")


def runs_as_stated(model: Path) -> None:
    """Every batch that Triton may form, and no input or output that it does not name."""
    found = config(model)
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == [i.name for i in found.input]
    for batch in [[n] for n in range(1, found.max_batch_size + 1)] or [[]]:
        frames = np.zeros([*batch, *found.input[0].dims], np.uint8)
        (mask,) = session.run([o.name for o in found.output], {found.input[0].name: frames})
        assert (mask.shape, mask.dtype) == ((*batch, *found.output[0].dims), np.uint8)


def test_an_engine_is_served_beside_the_graph(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    engine = add_engine(bundle)
    repository = write_repository(bundle, tmp_path / "t", precisions=["fp32"], max_batch=8)
    assert [(m.name, m.max_batch) for m in repository.served] == [
        ("segformer-mit_b0-fp32", 8),
        ("segformer-mit_b0-fp32-tensorrt", 4),  # what the engine was built for
    ]
    folder = tmp_path / "t" / "segformer-mit_b0-fp32-tensorrt"
    assert (folder / "1" / "model.plan").read_bytes() == engine.read_bytes()
    found = config(folder)
    assert (found.backend, found.max_batch_size) == ("tensorrt", 4)
    assert found.instance_group[0].kind == found.instance_group[0].KIND_GPU
    assert "TensorRT 10.3.0 on Orin" in (folder / "README.md").read_text()


def test_an_engine_that_is_not_served_is_named_with_the_reason(tmp_path: Path) -> None:
    bundle, folder = make_bundle(tmp_path / "my bundle"), tmp_path / "t"

    def left_out() -> str:
        (line,) = write_repository(bundle, folder, precisions=["fp32"], max_batch=4, replace=True).left_out
        assert not list(folder.glob("*-tensorrt"))
        return line

    assert f"holds no engine of it; run kd-deploy build '{bundle.path}' where" in left_out()
    engine = add_engine(bundle, batch=(4, 4, 4))
    assert "wants batches of 4 or more; build it with --batch 1,4,4" in left_out()
    engine.write_bytes(b"another")  # its sha256 is not the json's
    assert "holds no engine of it" in left_out()
    names = [add_engine(bundle, gpu).name for gpu in ("Orin", "Thor")]
    assert f"{', '.join(names)} could be meant" in left_out()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precisions": ["fp16"]}, "holds no fp16 model, only fp32"),
        ({"precisions": []}, "nothing to serve; name a precision that"),
        (
            {"backends": ["tensorrt"]},
            "nothing to serve; fp32 on TensorRT is left out: the bundle holds no engine",
        ),
        ({"max_batch": 3}, "its graph takes batches of 2, 3 is beyond; ask for 2"),
        ({"max_batch": 0}, "batches up to 0: both must be 1 or more"),
        ({"instances": 0}, "0 instances"),
        ({"name": "a/b"}, "'a/b': is no name for a Triton model"),
    ],
)
def test_what_cannot_be_served_is_refused_and_leaves_nothing(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", batch=2)
    with pytest.raises(UserError, match=message):
        write_repository(bundle, tmp_path / "t", **{"precisions": ["fp32"], "max_batch": 2, **arguments})
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_the_readmes_client_is_python_that_asks_for_a_served_model(tmp_path: Path) -> None:
    repository = write_repository(
        make_bundle(tmp_path / "bundle"), tmp_path / "t", precisions=["fp32"], max_batch=2
    )
    text = (tmp_path / "t" / repository.served[0].name / "README.md").read_text()
    client = textwrap.dedent(text[text.index("    import cv2") :])
    asked = [node.value for node in ast.walk(ast.parse(client)) if isinstance(node, ast.Constant)]
    assert {"frame", "mask", repository.served[0].name} <= set(asked)
    assert "nobody has run Triton on it" in text
