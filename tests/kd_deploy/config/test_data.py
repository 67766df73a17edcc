"""The data sections: which format takes which keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from kd_deploy.config.data import Data
from kd_deploy.config.load import dump_recipe, load_recipe
from kd_deploy.config.source import RecipeError
from kd_deploy.data.dataset import READERS
from tests.conftest import write_recipe


def load(tmp_path: Path, *overrides: str) -> Any:
    return load_recipe(str(write_recipe(tmp_path / "r.yaml", tmp_path)), overrides)


def test_every_format_has_a_reader() -> None:
    formats = [
        get_args(section.model_fields["format"].annotation)[0] for section in get_args(get_args(Data)[0])
    ]
    assert sorted(formats) == sorted([*READERS, "synthetic"])


@pytest.mark.parametrize("name", list(READERS))
def test_the_formats_on_disk_share_their_keys(name: str, tmp_path: Path) -> None:
    data = load(tmp_path, f"data.format={name}").data
    assert (data.format, data.root, data.size, data.short_side) == (name, tmp_path, None, None)
    assert load(tmp_path, f"data.format={name}", "data.size=[32, 48]").data.size == (32, 48)
    assert load(tmp_path, f"data.format={name}", "data.short_side=32").data.short_side == 32
    with pytest.raises(
        RecipeError, match=r"data.short_side.*: cannot go with size; size gives all frames one"
    ):
        load(tmp_path, f"data.format={name}", "data.size=[32, 48]", "data.short_side=32")


def test_a_dump_begins_with_the_format(tmp_path: Path) -> None:
    lines = dump_recipe(load(tmp_path, "data.format=voc")).splitlines()
    at = lines.index("data:")
    assert [line.split(":")[0].strip() for line in lines[at + 1 : at + 5]] == [
        "format",
        "root",
        "size",
        "short_side",
    ]
