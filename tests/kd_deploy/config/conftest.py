"""A recipe that is good, and what is said of it where lines are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_deploy.config.load import load_recipe
from kd_deploy.config.source import RecipeError

GOOD = """\
data:
  format: synthetic
student:
  arch: deeplabv3plus
  encoder: mobilenet_v2
teacher:
  arch: deeplabv3plus
  encoder: resnet34
distill:
  - method: kd
    weight: 1
train:
  iterations: 100
  batch_size: 4
  crop: [64, 64]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """Loads GOOD with lines replaced, and gives the problems with the file's name shortened."""
    path = tmp_path / "r.yaml"

    def problems(*edits: tuple[str, str], overrides: tuple[str, ...] = ()) -> list[str]:
        text = GOOD
        for old, new in edits:
            assert text.count(old) == 1
            text = text.replace(old, new)
        path.write_text(text)
        try:
            load_recipe(str(path), overrides)
        except RecipeError as error:
            return str(error).replace(str(path), "r.yaml").splitlines()
        return []

    return problems
