"""The dump of a recipe: every default written out, and what is loaded of it is what was dumped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_deploy.config.catalog import packaged
from kd_deploy.config.load import dump_recipe, load_recipe
from kd_deploy.config.schema import Recipe


@pytest.mark.parametrize("name", packaged())
def test_the_dump_of_a_packaged_recipe_loads_as_the_same(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "dump.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(str(tmp_path / "dump.yaml")) == recipe
    assert dump_recipe(load_recipe(str(tmp_path / "dump.yaml"))) == dump_recipe(recipe)


def test_the_dump_writes_every_default_in_the_order_of_the_schema() -> None:
    lines = dump_recipe(load_recipe("demo")).splitlines()
    sections = [line.partition(":")[0] for line in lines if line[0].isalpha()]
    assert sections == list(Recipe.model_fields)
    assert lines.count("  log_every: 20") == 1


AWKWARD = st.sampled_from(
    ["null", "~", "yes", "1e5", "0x10", "2001-01-01", "<<", "=", "*a", "&a", "a: b", "- x", ".inf"]
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1) | AWKWARD


@settings(deadline=None, max_examples=50)  # a shared machine may stall
@given(
    encoder=TEXT,
    weights=TEXT,
    weight=st.floats(0, allow_nan=False, allow_infinity=False),
    lr=st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 2**63),
    clip=st.none() | st.floats(0.001, 1e6),
)
def test_what_is_dumped_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    encoder: str,
    weights: str,
    weight: float,
    lr: float,
    seed: int,
    clip: float | None,
) -> None:
    network = {"arch": "segformer", "encoder": encoder, "weights": weights}
    recipe = Recipe.model_validate(
        {
            "data": {"format": "camvid", "root": "data", "size": [3, 4]},
            "student": network,
            "teacher": network,
            "distill": [{"method": "bpkd.edge", "weight": weight, "options": {"normalizer": "mask"}}],
            "train": {
                "iterations": 5,
                "batch_size": 2,
                "crop": [32, 64],
                "lr": lr,
                "seed": seed,
                "clip": clip,
            },
        }
    )
    path = tmp_path_factory.getbasetemp() / "dump.yaml"
    path.write_bytes(dump_recipe(recipe).encode())
    assert load_recipe(str(path)) == recipe
