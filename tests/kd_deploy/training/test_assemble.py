"""Assembling a training: the cache of decoded frames, shared by processes, and the batches that they share out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_deploy.config.load import load_recipe
from kd_deploy.data.dataset import open_dataset
from kd_deploy.data.decoded import Decoded
from kd_deploy.data.stream import Stream
from kd_deploy.deploy import export_run
from kd_deploy.finished import Finished
from kd_deploy.run import Run
from kd_deploy.training.assemble import assemble
from kd_deploy.training.train import distill
from tests.kd_deploy.training.test_train import torchrun
from tests.kd_deploy.training.test_trainer import metrics, same, weights


def test_a_cache_changes_no_number_and_no_method(
    deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(str(deeplab.recipe), ["data.cache=kept"])
    distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert metrics(tmp_path / "run") == metrics(deeplab.run)
    assert same(weights(tmp_path / "run"), weights(deeplab.run))
    assert Run.open(tmp_path / "run").recipe.data.cache == tmp_path / "kept"  # type: ignore[union-attr]
    one, other = Finished.open(tmp_path / "run"), Finished.open(deeplab.run)
    assert (one.scored, one.settings) == (other.scored, other.settings)
    export_run(tmp_path / "run", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert "cache" not in manifest["data"]


def test_without_a_cache_nothing_is_kept(recipe: Path) -> None:
    parts = assemble(load_recipe(str(recipe)), "student", teacher=None, device="cpu")
    assert not any(isinstance(dataset, Decoded) for dataset in parts.datasets)


SHARES = """
import sys
import torch
from kd_deploy.config.load import load_recipe
from kd_deploy.data.stream import Stream, loader
from kd_deploy.training.assemble import assemble

recipe, folder, *overrides = sys.argv[1:]
parts = assemble(load_recipe(recipe, overrides), "student", teacher=None, device="cpu")
for raw in (False, True):
    stream = Stream(parts.datasets[0], parts.settings, raw=raw)
    prepared = parts.accelerator.prepare(loader(stream, parts.settings, start=1))
    batches = list(map(stream.batch, prepared))
    torch.save(batches, f"{folder}/{parts.accelerator.process_index}-{raw}.pt")
parts.accelerator.end_training()
"""
"""One process's share of every batch, augmented by the loader and where a GPU would be."""


def test_two_processes_share_batches_and_a_cache(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "shares.py").write_text(SHARES)
    overrides = ["train.batch_size=4", "train.iterations=3", f"data.cache={tmp_path / 'cache'}"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, str(tmp_path / "shares.py"), str(recipe), str(tmp_path), *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = load_recipe(str(recipe), overrides)
    stream = Stream(open_dataset(loaded.data, "train"), loaded.train)
    for process in (0, 1):
        for raw in (False, True):
            batches = torch.load(tmp_path / f"{process}-{raw}.pt")
            assert len(batches) == 2
            for number, batch in enumerate(batches, start=1):
                for row in (0, 1):
                    expected = stream[4 * number + 2 * process + row]
                    for part, known in zip(batch, expected, strict=True):
                        assert torch.equal(part[row], known)
    names = sorted(path.name.rsplit("-", 1)[0] for path in (tmp_path / "cache").iterdir())
    assert names == ["camvid-train", "camvid-val"]


def test_a_cache_that_cannot_be_written_ends_all_processes(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    overrides = ["--set", f"data.cache={tmp_path / 'cache'}", "--set", "train.batch_size=4"]
    done = torchrun(
        2, "train", recipe, "--role", "student", "-o", tmp_path / "run", "--device", "cpu", *overrides
    )
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"error: {tmp_path / 'cache' / 'camvid-train-'}" in done.stderr
    assert "Traceback" not in done.stderr.partition("torch/distributed")[0]
    assert not (tmp_path / "run").exists()
