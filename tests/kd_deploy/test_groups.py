"""Runs that differ in their seed alone are one group."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.finished import Finished
from kd_deploy.groups import Spread, by_method
from kd_deploy.runtime.errors import UserError
from tests.kd_deploy.runs import write_run


def test_seeds_in_their_order_under_one_name(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"{seed}", "kd", 40.0 + seed, seed=seed) for seed in (2, 0)]
    (group,) = by_method(Finished.open(path) for path in paths)
    assert (group.name, [run.seed for run in group.runs]) == ("kd", [0, 2])
    assert group.spread("miou") == Spread(41.0, pytest.approx(2**0.5))
    assert group.trimap(16) == Spread(41.0 - 10 + 8, pytest.approx(2**0.5))


def test_a_trimap_iou_is_known_of_every_seed_or_not_at_all(tmp_path: Path) -> None:
    new = Finished.open(write_run(tmp_path / "new", "kd", 40.0, trimap_iou={"4": 31.0, "8": None}))
    old = Finished.open(write_run(tmp_path / "old", "kd", 40.0, seed=1, trimap_iou={}))
    assert new.trimap_iou == {4: 31.0}
    assert [by_method([new])[0].trimap(width) for width in (4, 8)] == [Spread(31.0, None), None]
    assert by_method([new, old])[0].trimap(4) is None


def test_one_seed_twice_is_refused(tmp_path: Path) -> None:
    runs = [Finished.open(write_run(tmp_path / name, "kd", 40.0)) for name in "ab"]
    with pytest.raises(UserError, match=r"b: is seed 0 of kd, and so is .*a; give one of them"):
        by_method(runs)
