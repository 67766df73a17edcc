"""Evaluation against a plain computation, for a run and for its bundle."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_deploy import deploy
from kd_deploy.config.load import load_recipe
from kd_deploy.config.views import WHOLE, Views
from kd_deploy.data.camvid import CamVid
from kd_deploy.data.scenes import CLASSES
from kd_deploy.deploy import Wanted, bundle_dataset, export_run, open_for_evaluation
from kd_deploy.evaluate import count, score, to_json
from kd_deploy.export import graph
from kd_deploy.export.bundle import Content
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.views import predict
from kd_deploy.models.weights import load
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Score
from kd_deploy.runtime.model import Description, Model
from kd_deploy.training.train import train
from tests.conftest import write_recipe
from tests.kd_deploy.data.trees import write_voc


def evaluated(source: Path, root: Path | None = None, **options: Any) -> dict[str, Any]:
    chosen = {"backend": None, "precision": "fp32", "device": "cpu", **options}
    model, dataset = open_for_evaluation(source, root, "val", **chosen)
    with model:
        return to_json(score(model, dataset), model)


def plain_miou(run: Path, root: Path) -> tuple[float, float, dict[str, float | None]]:
    """mIoU, pixel accuracy and IoU by class, straight from smp's network and the files."""
    recipe = load_recipe(str(run / "recipe.yaml"))
    network = load(recipe.student, str(run / "student.safetensors"), 11, key="student").network.eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    truth, predicted = [], []
    for file in sorted((root / "val").iterdir()):
        rgb = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        x = torch.tensor((rgb / 255 - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = torch.nn.functional.interpolate(network(x), size=rgb.shape[:2], mode="bilinear")
        mask = cv2.imread(str(root / "valannot" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED)
        truth.append(mask[mask < 11])
        predicted.append(logits[0].argmax(0).numpy()[mask < 11])
    t, p = np.concatenate(truth), np.concatenate(predicted)
    iou: dict[str, float | None] = {}
    for number, name in enumerate(CamVid.classes):
        union = ((t == number) | (p == number)).sum()
        iou[name] = 100 * float(((t == number) & (p == number)).sum() / union) if union else None
    return float(np.mean([v for v in iou.values() if v is not None])), 100 * float((t == p).mean()), iou


def test_a_run_scores_what_a_plain_computation_gives(deployed: Any, camvid: Path) -> None:
    result = evaluated(deployed.run)
    miou, accuracy, classes = plain_miou(deployed.run, camvid)
    assert result["classes"] == pytest.approx(classes, abs=1e-9, nan_ok=False)
    assert result["miou"] == pytest.approx(miou)
    assert result["pixel_accuracy"] == pytest.approx(accuracy)
    assert 0 < result["miou"] < 100
    assert result["images"] == 4
    summary = json.loads((deployed.run / "summary.json").read_text())
    assert summary["miou"] == pytest.approx(result["miou"])


def test_a_run_and_its_bundle_agree(deployed: Any, camvid: Path) -> None:
    run = evaluated(deployed.run)
    onnx, torch_ = (evaluated(deployed.bundle, camvid, backend=name) for name in ("onnxruntime-cpu", "torch"))
    assert (run["backend"], onnx["backend"], torch_["backend"]) == ("torch", "onnxruntime-cpu", "torch")
    assert onnx["device"]
    assert onnx["versions"].keys() == {"onnxruntime", "numpy"}
    backends = {"backend": None}
    assert {**run, **backends} == {**torch_, **backends}
    assert onnx["miou"] == pytest.approx(run["miou"], abs=0.05)
    assert onnx["pixel_accuracy"] == pytest.approx(run["pixel_accuracy"], abs=0.05)


def test_data_elsewhere_take_the_place_of_the_recipes(deeplab: Any, own_camvid: Path) -> None:
    for folder in ("val", "valannot"):
        for file in sorted((own_camvid / folder).iterdir())[2:]:
            file.unlink()
    for source in (deeplab.run, deeplab.bundle):
        assert evaluated(source, own_camvid)["images"] == 2


def test_the_word_synthetic_draws_a_bundles_data(tmp_path: Path, camvid: Path) -> None:
    def bundle(data: dict[str, Any]) -> Bundle:
        return Bundle(tmp_path, {"data": data, "classes": CLASSES})

    drawn = {"format": "synthetic", "size": [32, 64], "val": 2}
    for root in (None, Path("synthetic")):
        assert len(bundle_dataset(bundle(drawn), root, "val")) == 2
    with pytest.raises(UserError, match="drawn and not read; say --data synthetic"):
        bundle_dataset(bundle(drawn), camvid, "val")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"format": "synthetic", "size": "big"}, "data.synthetic.size: "),
        ({"format": "kitti"}, "data: Input tag 'kitti'"),
        ({"format": "voc", "size": 3}, "data.voc.size: "),
        ({}, "data: "),
    ],
)
def test_a_damaged_data_section_is_one_line(data: Any, what: str, tmp_path: Path) -> None:
    root = None if data.get("format") == "synthetic" else tmp_path
    with pytest.raises(UserError, match=f"^{tmp_path / 'manifest.json'}: {what}.*; export the bundle again$"):
        bundle_dataset(Bundle(tmp_path, {"data": data, "classes": CLASSES}), root, "val")


@pytest.fixture(scope="module")
def voc_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: a run on frames of three sizes, some smaller than the crop and some larger."""
    folder = tmp_path_factory.mktemp("voc")
    write_voc(folder / "VOCdevkit")
    file = write_recipe(folder / "r.yaml", folder / "VOCdevkit")
    overrides = ["data.format=voc", "train.iterations=2", "train.crop=[48, 48]", "evaluate.every=1"]
    train(load_recipe(str(file), overrides), "student", folder / "run", device="cpu")
    return folder / "run"


def test_frames_of_different_sizes_are_trained_on_and_scored(voc_run: Path) -> None:
    summary = json.loads((voc_run / "summary.json").read_text())
    records = [json.loads(line) for line in (voc_run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "evaluate"] == [1, 2]
    result = evaluated(voc_run)
    assert (result["images"], len(result["classes"])) == (4, 21)
    for key in ("miou", "pixel_accuracy", "boundary_iou"):
        assert result[key] == pytest.approx(summary[key])


VIEWS = {"window": [48, 48], "stride": [32, 48], "scales": [0.75, 1.0], "flip": True}


@pytest.fixture(scope="module")
def viewed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: a run whose recipe scores by several views; it goes on from a run that says something."""
    path = tmp_path_factory.mktemp("viewed") / "run"
    overrides = [f"evaluate.{key}={json.dumps(value)}" for key, value in VIEWS.items()]
    overrides += [f"student.weights={trained}", "train.iterations=2", "train.lr=1e-5"]
    train(load_recipe(str(trained / "recipe.yaml"), overrides), "student", path, device="cpu")
    return path


def test_a_run_is_scored_by_the_views_of_its_recipe(viewed: Path) -> None:
    summary = json.loads((viewed / "summary.json").read_text())
    result = evaluated(viewed)
    assert result["views"] == VIEWS
    for key in ("miou", "pixel_accuracy", "boundary_iou", "classes"):
        assert result[key] == pytest.approx(summary[key])
    records = [json.loads(line) for line in (viewed / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["miou"] == summary["miou"]


def test_other_views_take_the_place_of_the_recipes(
    viewed: Path, deeplab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[dict[str, Any]] = []

    def predicting(segmenter: Segmenter, images: Tensor, views: Views) -> Tensor:
        used.append(views.to_json())
        return predict(segmenter, images, views)

    monkeypatch.setattr(graph, "predict", predicting)
    whole = evaluated(viewed, views={"window": None, "scales": [1.0], "flip": False})
    assert whole["views"] == WHOLE.to_json()
    assert used == [WHOLE.to_json()] * 4
    used.clear()
    evaluated(viewed)
    assert used == [VIEWS] * 4
    assert evaluated(viewed, views={"window": (30, 60)})["views"] == {
        **VIEWS,
        "window": [30, 60],
        "stride": [20, 40],
    }
    assert evaluated(deeplab.run, views={"flip": True})["views"] == {**WHOLE.to_json(), "flip": True}
    for asked, said in (
        ({"stride": (49, 48)}, r"^--stride: must not exceed the window, \[48, 48\], not \[49, 48\]$"),
        (
            {"window": None, "stride": (2, 2)},
            r"^--stride: leads from one window to the next; set window too$",
        ),
    ):
        with pytest.raises(UserError, match=said):
            evaluated(viewed, views=asked)


def test_processes_share_a_viewed_split(viewed: Path) -> None:
    options = {"backend": None, "precision": "fp32", "device": "cpu"}
    model, dataset = open_for_evaluation(viewed, None, "val", **options)  # type: ignore[arg-type]
    shares = [count(model, dataset, process, 3).counts() for process in range(3)]
    assert (sum(shares) == count(model, dataset).counts()).all()


def test_a_bundle_says_by_which_views_its_run_was_scored(
    viewed: Path, deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Content] = []
    monkeypatch.setattr(deploy, "write_bundle", lambda path, content, replace: written.append(content))
    for run in (viewed, deeplab.run):
        export_run(run, tmp_path / "bundle")
    assert written[0].source["views"] == VIEWS
    assert "views" not in written[1].source


def test_a_bundle_of_frames_of_different_sizes_needs_a_size(
    voc_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Content] = []
    monkeypatch.setattr(deploy, "write_bundle", lambda path, content, replace: written.append(content))
    with pytest.raises(
        UserError, match=r"run: the frames of its data set differ in size, .* pass --size HxW"
    ):
        export_run(voc_run, tmp_path / "bundle")
    export_run(voc_run, tmp_path / "bundle", Wanted(size=(48, 64)))
    (content,) = written
    assert content.ends.size == (48, 64)
    bundle = Bundle(tmp_path, {"data": content.data, "classes": content.classes})
    assert len(bundle_dataset(bundle, voc_run.parent / "VOCdevkit" / "VOC2012", "train")) == 4


def test_what_a_source_cannot_do_is_refused(deeplab: Any, camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: is a run, evaluated in PyTorch at fp32; kd-deploy export"):
        evaluated(deeplab.run, backend="onnxruntime-cpu")
    shutil.copytree(deeplab.run, tmp_path / "my run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(UserError, match=rf"; kd-deploy export '{tmp_path}/my run' -o BUNDLE makes what"):
        evaluated(tmp_path / "my run", backend="onnxruntime-cpu")
    with pytest.raises(UserError, match=r"run: is a run, evaluated in PyTorch .* runs on fp16"):
        evaluated(deeplab.run, precision="fp16")
    with pytest.raises(UserError, match=r"^--device cuda: .*bundle is a bundle"):
        evaluated(deeplab.bundle, camvid, device="cuda")
    with pytest.raises(UserError, match=r"^--flip: .*bundle is a bundle, .* evaluate its RUN$"):
        evaluated(deeplab.bundle, camvid, views={"flip": True})
    with pytest.raises(UserError, match="bundle: holds no fp16 model, only fp32"):
        evaluated(deeplab.bundle, camvid, precision="fp16")
    with pytest.raises(UserError, match=r"its data set \(camvid\) lies outside the bundle; pass --data DIR"):
        evaluated(deeplab.bundle)
    with pytest.raises(UserError, match=rf"gone run: is no run; .* with -o '{tmp_path}/gone run'$"):
        evaluated(tmp_path / "gone run")
    with pytest.raises(UserError, match=f"^{tmp_path}: is no run"):
        evaluated(tmp_path)


class Two:
    """A data set of two frames, the last of which has a label that is no class's."""

    classes = ("a", "b")
    palette = np.zeros((2, 3), np.uint8)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Frame:
        return Frame(f"frame{index}", np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 5 * index, np.uint8))


class Announcing(Model):
    """Says when it is at the second frame."""

    size = (4, 6)

    def __init__(self) -> None:
        self.runs, self.at_second = 0, threading.Event()

    def describe(self) -> Description:
        return Description("announcing", "fp32", "none", {})

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.runs += 1
        if self.runs == 2:
            self.at_second.set()
        return np.zeros(frames.shape[:3], np.uint8)

    def _close(self) -> None:
        pass


def test_a_frame_is_scored_while_the_model_is_at_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model, update = Announcing(), Score.update

    def update_late(self: Score, *frame: Any) -> None:
        assert model.at_second.wait(10), "the model waited for the score"
        update(self, *frame)

    monkeypatch.setattr(Score, "update", update_late)
    with pytest.raises(UserError, match="frame1: the label map: has class id 5"):
        count(model, Two())
