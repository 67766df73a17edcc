"""A run's page: what is on it, and what it says of what is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.views import Views
from kd_deploy.deploy import open_for_evaluation
from kd_deploy.evaluate import score
from kd_deploy.export.torch_backend import TorchModel
from kd_deploy.report.run import run_page
from kd_deploy.runtime.errors import UserError


@pytest.fixture
def copied(deeplab: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(deeplab.run, tmp_path / "run"))


@pytest.fixture
def alone(deeplab: Any, tmp_path: Path) -> Path:
    """The same weights, as if the labels alone had taught them."""
    run = Path(shutil.copytree(deeplab.run, tmp_path / "alone"))
    (run / "run.json").write_text(json.dumps({"role": "student", "teacher": None}))
    return run


def page(path: Path, baseline: Path | None = None, root: Path | None = None) -> str:
    return run_page(path, baseline=baseline, root=root, device="cpu")


def test_a_run_beside_its_teacher_and_the_student_alone(deeplab: Any, alone: Path) -> None:
    html = page(deeplab.run, alone)
    summary = json.loads((deeplab.run / "summary.json").read_text())
    assert f"this run: mIoU {summary['miou']:.2f}" in html
    teacher = json.loads((deeplab.teacher / "summary.json").read_text())
    assert f"teacher: mIoU {teacher['miou']:.2f}" in html
    assert f"student alone: mIoU {summary['miou']:.2f}" in html
    assert "(+0.00 over student alone)" in html
    assert "kd + bpkd.body on deeplabv3plus" in html
    assert {"terms before their weights", "learning rate"} <= set(re.findall(r">([^<>]+)</text>", html))
    assert html.count('class="frames"') == 4  # no more than there are
    assert 'class="note"' not in html


def test_a_page_needs_nothing_else(deeplab: Any) -> None:
    html = page(deeplab.run)
    links = re.findall(r'(?:src|href|url\()\s*=?\s*"?([^")\s>]+)', html)
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in html
    assert "name its run with --baseline" in html


def test_a_teacher_that_is_gone_is_named(copied: Path) -> None:
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(facts | {"teacher": "/no/where"}))
    html = page(copied)
    assert "The teacher is not on this page: /no/where: no weights there" in html
    assert "teacher: mIoU" not in html


def test_a_teacher_of_which_the_weights_are_left(copied: Path, deeplab: Any, tmp_path: Path) -> None:
    file = shutil.copy(deeplab.teacher / "teacher.safetensors", tmp_path / "weights.safetensors")
    facts = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(facts | {"teacher": str(file)}))
    assert "teacher: mIoU" in page(copied)


def test_a_teachers_own_page_and_moved_data(deeplab: Any, own_camvid: Path) -> None:
    html = page(deeplab.teacher, root=own_camvid)
    assert "<h1>teacher</h1>" in html
    assert "--baseline" not in html


def test_a_score_that_does_not_repeat_is_named(copied: Path) -> None:
    summary = json.loads((copied / "summary.json").read_text())
    (copied / "summary.json").write_text(json.dumps(summary | {"miou": 99.0}))
    assert "the run itself found an mIoU of 99.00" in page(copied)


def test_all_networks_of_a_page_are_seen_as_its_run_is(
    deeplab: Any, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (copied / "recipe.yaml").read_text()
    assert "flip: false" in recipe
    (copied / "recipe.yaml").write_text(recipe.replace("  flip: false", "  flip: true"))
    model, dataset = open_for_evaluation(copied, None, "val", backend=None, precision="fp32", device="cpu")
    summary = json.loads((copied / "summary.json").read_text())
    (copied / "summary.json").write_text(json.dumps(summary | {"miou": score(model, dataset).miou}))
    opened: list[Views] = []
    init = TorchModel.__init__

    def watched(self: TorchModel, *arguments: Any) -> None:
        init(self, *arguments)
        opened.append(self.views)

    monkeypatch.setattr(TorchModel, "__init__", watched)
    html = page(copied)
    assert "whole picture and flipped" in html
    assert "the run itself found" not in html
    assert [views.flip for views in opened] == [True, True]  # the run and its teacher


def test_near_the_boundaries_stand_all_networks(deeplab: Any, alone: Path) -> None:
    html = page(deeplab.run, alone)
    section = html[html.index("Near the boundaries") : html.index("What is taken for what")]
    trimaps = json.loads((deeplab.run / "summary.json").read_text())["trimap_iou"]
    for width, iou in trimaps.items():
        assert f"<tr><td>{width}</td><td>{iou:.1f}</td><td>{iou:.1f}</td>" in section
    assert {"this run", "student alone", "teacher"} <= set(re.findall(r">([^<>]+)</text>", section))


def test_many_classes_are_sorted_in_a_box_and_each_frame_has_its_own_legend(
    deeplab: Any, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = page(deeplab.run, alone)
    assert 'class="wide tall"' not in few
    assert few[few.index("Frame by frame") :].count('class="legend"') == 1
    for module in ("run", "confusion"):
        monkeypatch.setattr(f"kd_deploy.report.{module}.READABLE", 3)
    html = page(deeplab.run)
    table = html[html.index('class="wide tall"') : html.index("Near the boundaries")]
    scores = re.findall(r"</td>\s+<td>([\d.]+|–)</td>", table)
    known = [float(score) for score in scores if score != "–"]
    assert len(scores) == 11
    assert known == sorted(known, reverse=True)
    assert scores[len(known) :] == ["–"] * (11 - len(known))
    assert "11 classes,\nfrom the highest IoU to the lowest." in html
    assert "The 3 of 11 classes with the most wrong pixels; the last column is all the others." in html
    assert html[html.index("Frame by frame") :].count('class="legend"') == 4
    assert "from the largest gain over student alone to the largest loss: 0 gain, 0 lose." in page(
        deeplab.run, alone
    )


def test_a_baseline_of_other_data_is_refused(copied: Path, alone: Path) -> None:
    recipe = (alone / "recipe.yaml").read_text()
    assert "short_side:\n" in recipe
    (alone / "recipe.yaml").write_text(recipe.replace("short_side:\n", "short_side: 32\n"))
    with pytest.raises(UserError, match=r"--baseline .*alone: data.short_side is 32 against none"):
        page(copied, alone)
