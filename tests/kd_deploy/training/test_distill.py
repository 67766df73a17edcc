"""Distillation with every kind of term: adapters, taps, schedules, the dry run, and what is exported of it all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import load_file

from kd_deploy.config.load import load_recipe
from kd_deploy.deploy import export_run
from kd_deploy.run import Run
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.assemble import assemble
from kd_deploy.training.balance import measure
from kd_deploy.training.train import distill, train
from tests.kd_deploy.training.test_train import distillation, torchrun
from tests.kd_deploy.training.test_trainer import after_step, metrics, press_ctrl_c, same, weights

TERMS = (
    "distill=[{method: mgd, weight: 1.0e-5}, {method: cwd, weight: 1, taps: [decoder]}, {method: cwd, weight: 1}, "
    "{method: brd.boundary, weight: 5, schedule: {kind: warmup, over: [0, 4]}}, {method: brd.relation, weight: 0.3}]"
)
NAMES = ["ce", "mgd", "cwd@decoder", "cwd", "brd.boundary", "brd.relation"]
SHORT = ["train.iterations=4", "evaluate.every=2", "train.log_every=2"]


@pytest.fixture(scope="module")
def composed(deeplab: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: a run with terms on logits and features, two of which learn."""
    path = tmp_path_factory.mktemp("composed") / "run"
    distill(
        load_recipe(str(deeplab.recipe), [TERMS, *SHORT]), path, teacher=str(deeplab.teacher), device="cpu"
    )
    return path


def test_every_term_is_logged_with_its_gradient(composed: Path) -> None:
    logged = [record for record in metrics(composed) if record["kind"] == "train"]
    assert [record["step"] for record in logged] == [2, 4]
    for record in logged:
        for name in NAMES:
            assert record[name] > 0
            assert record[f"{name}.gradient"] > 0
    assert logged[0]["brd.boundary.weighted"] == pytest.approx(5 * logged[0]["brd.boundary"] * 0.125, rel=0.2)
    assert json.loads((composed / "summary.json").read_text())["terms"] == NAMES


def test_adapters_learn_and_are_saved(composed: Path, deeplab: Any) -> None:
    state = Run.open(composed).load_checkpoint("last")
    assert state is not None
    recipe = load_recipe(str(deeplab.recipe), [TERMS, *SHORT])
    untrained = assemble(recipe, "student", teacher=str(deeplab.teacher), device="cpu").objective.adapters
    assert {key.split(".")[0] for key in state["adapters"]} == {"mgd", "cwd@decoder"}
    for key, before in untrained.state_dict().items():
        assert torch.isfinite(state["adapters"][key]).all()
        assert not torch.equal(state["adapters"][key], before), key


def test_a_resumed_run_goes_on_with_its_adapters(
    composed: Path, deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MGD draws a random mask at every step, too."""
    recipe = load_recipe(str(deeplab.recipe), [TERMS, *SHORT])
    with monkeypatch.context() as patch:
        after_step(3, patch, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu", resume=True)
    assert metrics(tmp_path / "run") == metrics(composed)
    assert same(weights(tmp_path / "run"), weights(composed))
    ends = [Run.open(run).load_checkpoint("last") for run in (tmp_path / "run", composed)]
    assert same(ends[0]["adapters"], ends[1]["adapters"])  # type: ignore[index]


def structure(bundle: Path) -> list[Any]:
    """Everything of a bundle's graph but the values of its weights."""
    graph = onnx.load(str(bundle / "model.fp32.onnx")).graph
    nodes = [
        (n.op_type, list(n.input), list(n.output), [a.SerializeToString() for a in n.attribute])
        for n in graph.node
    ]
    return [nodes, sorted((w.name, tuple(w.dims), w.data_type) for w in graph.initializer)]


def test_the_exported_student_is_a_plainly_trained_one(composed: Path, deeplab: Any, tmp_path: Path) -> None:
    train(load_recipe(str(deeplab.recipe), SHORT), "student", tmp_path / "plain", device="cpu")
    assert weights(composed).keys() == weights(tmp_path / "plain").keys()
    for name, run in (("composed", composed), ("plain", tmp_path / "plain")):
        export_run(run, tmp_path / f"{name}-bundle")
    found, plain = structure(tmp_path / "composed-bundle"), structure(tmp_path / "plain-bundle")
    assert found == plain
    assert len(found[0]) > 50
    reference = load_file(tmp_path / "composed-bundle" / "reference.safetensors")
    assert reference.keys() == load_file(tmp_path / "plain-bundle" / "reference.safetensors").keys()


def test_two_processes_share_the_adapters(deeplab: Any, tmp_path: Path) -> None:
    overrides = [*SHORT, "train.batch_size=4", TERMS]
    done = torchrun(2, *distillation(deeplab.recipe, deeplab.teacher, tmp_path / "run", overrides))
    assert done.returncode == 0, done.stderr
    assert [r["step"] for r in metrics(tmp_path / "run")] == [2, 2, 4, 4]
    state = Run.open(tmp_path / "run").load_checkpoint("last")
    assert state is not None
    assert len(state["adapters"]) == 8
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_process_whose_share_is_fine_stops_too(deeplab: Any, tmp_path: Path) -> None:
    """A teacher that is not finite in one process's share stops all, with the picture named."""
    state = load_file(deeplab.teacher / "teacher.safetensors")
    state["segmentation_head.0.bias"][:] = float("nan")
    torch.save(state, tmp_path / "teacher.pt")
    overrides = ["train.iterations=2", "train.batch_size=4", "distill=[{method: kd, weight: 1}]"]
    done = torchrun(2, *distillation(deeplab.recipe, tmp_path / "teacher.pt", tmp_path / "run", overrides))
    assert done.returncode == 1
    assert "at step 1 kd is nan: the teacher's logits are not finite on " in done.stderr
    assert "Traceback" not in done.stderr.partition("torch/distributed")[0]


def test_the_student_alone_ignores_the_recipes_schedules(deeplab: Any, tmp_path: Path) -> None:
    """Cross-entropy alone at full weight, whatever it does beside a teacher."""
    results = []
    for name, extra in (
        ("plain", []),
        ("scheduled", ["supervised={weight: 0.5, schedule: {kind: linear, start: 0}}"]),
    ):
        train(load_recipe(str(deeplab.recipe), [*SHORT, *extra]), "student", tmp_path / name, device="cpu")
        results.append((metrics(tmp_path / name), weights(tmp_path / name)))
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])


def test_wiring_is_checked_before_anything_is_written(deeplab: Any, tmp_path: Path) -> None:
    recipe = load_recipe(str(deeplab.recipe), ["distill=[{method: at, weight: 1, taps: [stage5]}]"])
    with pytest.raises(
        UserError, match=r"^distill\[0\].taps: at reads the tap 'stage5', .* it has stage1 \(stride 4, 24"
    ):
        distill(recipe, tmp_path / "run", teacher=str(deeplab.teacher), device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_weighs_the_terms_and_writes_nothing(
    kd: Any, deeplab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    around = (tmp_path, deeplab.recipe.parent, deeplab.teacher)
    before = [sorted(folder.rglob("*")) for folder in around]
    arguments = ["distill", deeplab.recipe, "--teacher", deeplab.teacher, "--dry-run", "--set", TERMS]
    table = kd(*arguments, "--device", "cpu")
    assert table.code == 0, table.err
    assert all(name in table.out for name in NAMES)
    assert "warmup 0 to 1, steps 0 to 4" in table.out
    done = kd(*arguments, "--device", "cpu", "--json")
    weighed = {term["name"]: term for term in json.loads(done.out)}
    assert list(weighed) == NAMES
    assert weighed["ce"]["share"] == pytest.approx(1)
    assert weighed["mgd"]["taps"] == ["stage4"]
    for term in weighed.values():
        assert term["weighted"] == pytest.approx(term["weight"] * term["raw"])  # schedules are left out
        assert term["gradient"] > 0
        assert term["share"] > 0
    assert [sorted(folder.rglob("*")) for folder in around] == before


def test_a_dry_run_goes_through_the_parts_that_training_would(deeplab: Any) -> None:
    terms = "distill=[{method: kd, weight: 1}, {method: cwd, weight: 1, taps: [decoder]}]"
    found = []
    for parts in (1, 2):
        overrides = [terms, "train.batch_size=4", "train.batchnorm=frozen", f"train.accumulate={parts}"]
        recipe = load_recipe(str(deeplab.recipe), overrides)
        found.append(measure(recipe, teacher=str(deeplab.teacher), device="cpu"))
    for whole, parted in zip(*found, strict=True):
        for fact in ("raw", "weighted", "gradient", "share"):
            assert getattr(parted, fact) == pytest.approx(getattr(whole, fact), rel=1e-3)


def test_a_dry_run_refuses_a_teacher_that_is_not_finite(kd: Any, deeplab: Any, tmp_path: Path) -> None:
    state = load_file(deeplab.teacher / "teacher.safetensors")
    state["segmentation_head.0.bias"][:] = float("nan")
    torch.save(state, tmp_path / "teacher.pt")
    done = kd("distill", deeplab.recipe, "--teacher", tmp_path / "teacher.pt", "--dry-run", "--device", "cpu")
    assert done.code == 1
    assert "error: dry run: kd is nan: the teacher's logits are not finite on " in done.err


def test_only_a_dry_run_needs_no_folder(kd: Any, deeplab: Any) -> None:
    done = kd("distill", deeplab.recipe, "--teacher", deeplab.teacher)
    assert done.code == 2
    assert "Missing option '-o' / '--output'" in done.err
