"""The views of a recipe: defaults, the stride that a window brings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.config.load import dump_recipe, load_recipe
from kd_deploy.config.source import RecipeError
from kd_deploy.config.views import WHOLE, Views


def test_the_default_is_the_picture_as_it_is() -> None:
    evaluate = load_recipe("demo").evaluate
    assert evaluate.to_json() == WHOLE.to_json()
    assert WHOLE.to_json() == {"window": None, "stride": None, "scales": [1.0], "flip": False}
    assert not WHOLE.many
    assert str(evaluate) == "whole picture"


def test_a_window_brings_a_stride_of_two_thirds() -> None:
    assert Views(window=(512, 769)).stride == (341, 513)
    assert Views(window=(1, 2)).stride == (1, 1)
    assert Views(window=(512, 512), stride=(512, 1)).stride == (512, 1)


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (Views(window=(512, 768)), "512x768 window every 341x512"),
        (Views(scales=(0.75, 1, 1.25)), "whole picture, scales 0.75, 1, 1.25"),
        (Views(flip=True), "whole picture and flipped"),
        (Views(window=(6, 6), scales=(2,), flip=True), "6x6 window every 4x4, scales 2 and flipped"),
    ],
)
def test_what_is_more_than_the_whole_is_said(views: Views, said: str) -> None:
    assert views.many
    assert str(views) == said


def test_the_dump_holds_the_stride_and_loads_again(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["evaluate.window=[96, 96]", "evaluate.scales=[0.5, 1]"])
    (tmp_path / "dump.yaml").write_text(dump_recipe(recipe))
    assert "  stride: [64, 64]\n" in dump_recipe(recipe)
    assert load_recipe(str(tmp_path / "dump.yaml")) == recipe


def test_a_recipe_from_before_there_were_views_loads(tmp_path: Path) -> None:
    lines = dump_recipe(load_recipe("demo")).splitlines(keepends=True)
    start = lines.index("evaluate:\n")
    new = {f"  {key}:" for key in Views.model_fields}
    kept = [line for n, line in enumerate(lines) if n < start or line.partition(":")[0] + ":" not in new]
    assert len(lines) - len(kept) == len(new)
    (tmp_path / "old.yaml").write_text("".join(kept))
    assert load_recipe(str(tmp_path / "old.yaml")) == load_recipe("demo")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["window=[64, 64]", "stride=[64, 65]"],
            "stride=[64, 65]: must not exceed the window, [64, 64], not [64, 65]",
        ),
        (["stride=[4, 4]"], "stride=[4, 4]: leads from one window to the next; set window too"),
        (["window=[0, 64]"], "window=[0, 64]: evaluate.window[0]: must be greater than 0, not 0"),
        (["window=64", "stride=[4, 4]"], "window=64: must be a list, not 64"),
        (["scales=[]"], "scales=[]: has too few values: []"),
        (["scales=[1, 0]"], "scales=[1, 0]: evaluate.scales[1]: must be greater than 0, not 0"),
        (["scales=1"], "scales=1: must be a list, not 1"),
        (["flip=1"], "flip=1: must be true or false, not 1"),
    ],
)
def test_a_wrong_view_is_one_line(overrides: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("demo", [f"evaluate.{override}" for override in overrides])
    assert str(refused.value) == f"--set evaluate.{problem}"
