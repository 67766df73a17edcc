"""Overrides reach the recipe and are checked like the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.data import CamVidData
from kd_deploy.config.load import load_recipe


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.optimizer.nam=1", "unknown key (did you mean 'name'?)"),
        ("trainn.clip=1", "trainn: unknown key (did you mean 'train'?)"),
        ("train.clip=much", "must be a number, not 'much'"),
        ("train.optimizer={nam: 1}", "train.optimizer.nam: unknown key (did you mean 'name'?)"),
        ("distill.1.weight=2", "distill is a list: name an index from 0 to 0, not '1'"),
        ("distill.0.method=kdd", "'kdd' is not one of kd, cwd"),
        ("distill.0.options.t=2", "unknown key"),
        ("student.arch=segformer", ""),
    ],
)
def test_an_override_is_checked_like_the_file(recipe: Any, override: str, problem: str) -> None:
    if problem:
        (line,) = recipe(overrides=(override,))
        assert line.startswith(f"--set {override}: {problem}")
    else:
        assert recipe(overrides=(override,)) == []


def test_a_section_that_an_override_begins_names_it_where_keys_are_missing(recipe: Any) -> None:
    begun = "teacher.train.iterations=5"
    assert recipe(overrides=(begun,)) == [
        f"--set {begun}: teacher.train.batch_size: missing key",
        f"--set {begun}: teacher.train.crop: missing key",
    ]
    assert recipe(overrides=(begun, "teacher.train.batch_size=2", "teacher.train.crop=[32, 32]")) == []


def test_overrides_reach_the_recipe() -> None:
    recipe = load_recipe(
        "camvid/deeplabv3plus-mobilenetv2-bpkd",
        [
            "train.clip=1",
            "distill.1.weight=3",
            "data.root=/some/place",
            "train.lr=1e-3",
            "train.clip=2",
        ],
    )
    assert (recipe.train.clip, recipe.distill[1].weight, recipe.train.lr) == (2.0, 3.0, 0.001)
    assert recipe.data == CamVidData(format="camvid", root=Path("/some/place"))
    assert recipe.distill[0] == load_recipe("camvid/deeplabv3plus-mobilenetv2-bpkd").distill[0]
