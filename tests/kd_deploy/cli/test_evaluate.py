"""`kd-deploy evaluate` with views, on a tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

WHOLE = {"window": None, "stride": None, "scales": [1.0], "flip": False}


def test_views_are_asked_for_and_said(deeplab: Any, kd: Any) -> None:
    options = ("--window", "48x60", "--scales", "0.75,1", "--flip", "--device", "cpu")
    result = json.loads(kd("evaluate", deeplab.run, *options, "--json").out)
    assert result["views"] == {"window": [48, 60], "stride": [32, 40], "scales": [0.75, 1.0], "flip": True}
    assert 0 < result["miou"] < 100
    table = kd("evaluate", deeplab.run, *options, "--stride", "48x30", "--no-flip")
    assert table.code == 0
    assert "4 images, 48x60 window every 48x30, scales 0.75, 1" in table.out


def test_without_options_it_is_the_recipe(deeplab: Any, kd: Any) -> None:
    result = json.loads(kd("evaluate", deeplab.run, "--json", "--device", "cpu").out)
    summary = json.loads((deeplab.run / "summary.json").read_text())
    assert result["views"] == WHOLE
    assert result["miou"] == summary["miou"]
    assert "4 images, whole picture" in kd("evaluate", deeplab.run, "--device", "cpu").out


def test_a_recipes_window_can_be_left_out(deeplab: Any, tmp_path: Path, kd: Any) -> None:
    run = Path(shutil.copytree(deeplab.run, tmp_path / "run"))
    recipe = run / "recipe.yaml"
    recipe.write_text(
        recipe.read_text().replace("window:", "window: [48, 60]").replace("stride:", "stride: [32, 40]")
    )
    windowed = json.loads(kd("evaluate", run, "--json", "--device", "cpu").out)
    assert windowed["views"]["window"] == [48, 60]
    whole = json.loads(kd("evaluate", run, "--window", "none", "--json", "--device", "cpu").out)
    assert whole["views"] == WHOLE
    assert kd("evaluate", run, "--window", "all", "--device", "cpu").code == 2


@pytest.mark.parametrize(
    "option", [("--window", "32x32"), ("--stride", "8x8"), ("--scales", "1"), ("--flip",), ("--no-flip",)]
)
def test_a_bundle_has_one_view(deeplab: Any, camvid: Path, kd: Any, option: tuple[str, ...]) -> None:
    outcome = kd("evaluate", deeplab.bundle, "--data", camvid, *option)
    assert outcome.code == 1
    name = option[0].replace("no-", "")
    assert outcome.error.startswith(f"{name}: {deeplab.bundle} is a bundle, ")
    assert outcome.error.endswith("; evaluate its RUN")


def test_what_a_bundle_says(deeplab: Any, camvid: Path, kd: Any) -> None:
    assert json.loads(kd("evaluate", deeplab.bundle, "--data", camvid, "--json").out)["views"] == WHOLE


def test_a_stride_without_a_window_or_beyond_it_is_1(deeplab: Any, kd: Any) -> None:
    assert kd("evaluate", deeplab.run, "--stride", "8x8").error == (
        "--stride: leads from one window to the next; set window too"
    )
    outcome = kd("evaluate", deeplab.run, "--window", "32x32", "--stride", "8x33")
    assert outcome.code == 1
    assert outcome.error == "--stride: must not exceed the window, [32, 32], not [8, 33]"


@pytest.mark.parametrize("scales", ["", "a", "1,,2", "0", "-1", "inf", "nan", "1;2"])
def test_what_are_no_scales_is_2(deeplab: Any, kd: Any, scales: str) -> None:
    outcome = kd("evaluate", deeplab.run, "--scales", scales)
    assert outcome.code == 2
    assert f"{scales!r} are no scales; write positive numbers, for example 0.75,1,1.25" in outcome.err
