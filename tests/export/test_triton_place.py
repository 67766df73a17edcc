"""A Triton repository that is there: its other models stay, ours are replaced when asked, all of them or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.export import triton
from kd_deploy.export.triton import write_repository
from kd_deploy.export.triton_model import Served
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from tests.export.test_triton import add_engine, make_bundle, tree


def snapshot(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A repository with a model of somebody else."""
    folder = tmp_path / "t"
    (folder / "bert" / "1").mkdir(parents=True)
    (folder / "bert" / "1" / "model.onnx").write_bytes(b"theirs")
    (folder / "bert" / "config.pbtxt").write_text('name: "bert"\n')
    (folder / "README.md").write_text("theirs")
    return folder


def test_other_models_stay_where_ours_are_written_and_replaced(foreign: Path, tmp_path: Path) -> None:
    bundle, before = make_bundle(tmp_path / "bundle"), snapshot(foreign)
    write_repository(bundle, foreign, precisions=["fp32"], max_batch=2, name="old")
    for _ in range(2):
        write_repository(bundle, foreign, precisions=["fp32"], max_batch=2, replace=True)
    assert {p.name for p in foreign.iterdir()} == {"README.md", "bert", "old-fp32", "segformer-mit_b0-fp32"}
    assert before.items() <= snapshot(foreign).items()


def test_a_model_of_our_name_is_replaced_only_where_it_is_ours(foreign: Path, tmp_path: Path) -> None:
    bundle, name = make_bundle(tmp_path / "bundle"), "segformer-mit_b0-fp32"
    write_repository(bundle, foreign, precisions=["fp32"], max_batch=2)
    before = snapshot(foreign)
    with pytest.raises(UserError, match=f"{name}: exists already; choose another name, or pass --force"):
        write_repository(bundle, foreign, precisions=["fp32"], max_batch=2)
    (foreign / name / "config.pbtxt").write_text(f'name: "{name}"\n')
    before = snapshot(foreign)
    with pytest.raises(UserError, match=f"{name}: was not written by kd-deploy, so --force does not replace"):
        write_repository(bundle, foreign, precisions=["fp32"], max_batch=4, replace=True)
    assert snapshot(foreign) == before


def test_an_engine_of_the_replaced_graph_goes_with_it(foreign: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    engine = add_engine(bundle)
    write_repository(bundle, foreign, precisions=["fp32"], max_batch=2)
    assert (foreign / "segformer-mit_b0-fp32-tensorrt").is_dir()
    engine.unlink()
    write_repository(bundle, foreign, precisions=["fp32"], max_batch=2, replace=True)
    assert {p.name for p in foreign.iterdir()} == {"README.md", "bert", "segformer-mit_b0-fp32"}


def test_a_failure_leaves_every_model_as_it_was(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    add_engine(bundle)
    write_repository(bundle, foreign, precisions=["fp32"], max_batch=2)
    before, write = snapshot(foreign), triton.write_model

    def fail(folder: Path, bundle: Bundle, model: Served, instances: int) -> None:
        write(folder, bundle, model, 9)
        if model.backend == "tensorrt":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(triton, "write_model", fail)
    with pytest.raises(UserError, match="cannot be written"):
        write_repository(bundle, foreign, precisions=["fp32"], max_batch=2, replace=True)
    assert snapshot(foreign) == before
    assert len(list(foreign.iterdir())) == 4


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="bundle: exists already and is no Triton repository; choose another"):
        write_repository(bundle, tmp_path / "bundle", precisions=["fp32"], max_batch=2, replace=True)
    with pytest.raises(UserError, match="cannot be written"):
        write_repository(bundle, tmp_path / "bundle" / "model.onnx", precisions=["fp32"], max_batch=2)
    assert snapshot(tmp_path) == before
