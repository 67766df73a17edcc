"""The search: each verdict, the winner, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_deploy.runtime import model as models
from kd_deploy.runtime.benchmark import fastest, noise
from kd_deploy.runtime.benchmark.fastest import find_fastest
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.model import open_model
from tests.runtime.conftest import FakeModel
from tests.runtime.gpu import SIZE


class Network(FakeModel):
    """ONNX Runtime's masks after `work`, under another name."""

    def __init__(self, bundle: Bundle, precision: str, work: Callable[[Any], Any]) -> None:
        inner = open_model(bundle)
        super().__init__(SIZE, lambda frames: work(inner.run(frames)), precision)
        self.closed = False

    def _close(self) -> None:
        assert not self.closed
        self.closed = True


def no_memory() -> Any:
    raise MemoryError("no memory left")


@pytest.fixture
def machine(tiny: Bundle, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Backends `fake`, of several precisions, and `gone`, whose library is missing; every opened model is kept."""
    kept: list[Network] = []

    def spent(
        milliseconds: float, change: Callable[[Any], Any] = lambda masks: masks
    ) -> Callable[[Any], Any]:
        def work(masks: Any) -> Any:
            clock.now += int(milliseconds * 1e6)
            return change(masks)

        return work

    networks = {
        "fp32": ("fp32", spent(8)),
        "fp32-cpu": ("fp32", spent(8)),
        "fp16": ("fp16", spent(4)),
        "int8": ("int8", spent(1, lambda masks: 0 * masks)),
        "greedy": ("greedy", spent(1, lambda masks: masks if len(masks) <= 2 else no_memory())),
        "broken": ("broken", spent(1, lambda masks: no_memory())),
        "beyond": ("beyond", spent(1, lambda masks: masks | 128)),
    }

    def open_backend(bundle: Bundle, precision: str, threads: int | None) -> Network:
        if precision == "bf16":
            raise UserError("model.bf16.onnx: has no convolutions here")
        kept.append(Network(bundle, *networks[precision]))
        return kept[-1]

    held = ["fp32", "fp32-cpu", "fp16", "int8", "bf16"]

    def missing(bundle: Bundle, precision: str, threads: int | None) -> Network:
        raise MissingComponentError("gone: is not installed; install it")

    modules = {
        "fake": SimpleNamespace(open_backend=open_backend, precisions=lambda bundle: held),
        "gone": SimpleNamespace(open_backend=missing),
    }
    real = models.importlib.import_module
    monkeypatch.setattr(
        models, "importlib", SimpleNamespace(import_module=lambda name: modules.get(name) or real(name))
    )
    for name in modules:
        monkeypatch.setitem(models.BACKENDS, name, name)
    return kept


def test_the_fastest_that_passes_wins(tiny: Bundle, machine: Any) -> None:
    told: list[float] = []
    result = find_fastest(tiny, backends=["fake", "gone"], seconds=0, progress=told.append)
    found = {(c["backend"], c["precision"]): c for c in result["fastest"]["candidates"]}
    verdicts = {name: candidate["verdict"] for name, candidate in found.items()}
    assert list(verdicts.items()) == [
        (("fake", "fp16"), "pass"),
        (("fake", "fp32"), "pass"),
        (("fake", "int8"), "fail"),
        (("fake", "fp32-cpu"), "skipped"),
        (("fake", "bf16"), "skipped"),
        (("gone", "any"), "skipped"),  # once, not for each precision
    ]
    assert "pixels agree" in found["fake", "int8"]["reason"]
    assert found["fake", "fp32-cpu"]["reason"] == "runs the same model as fp32"
    assert found["fake", "bf16"]["reason"] == "model.bf16.onnx: has no convolutions here"
    assert found["gone", "any"]["reason"] == "gone: is not installed; install it"
    winner = result["fastest"]["winner"]
    assert (winner["p50_ms"], winner["fps"]) == (4.0, 250.0)
    assert winner["command"] == f"kd-deploy infer {tiny.path} SOURCE -o OUT --backend fake --precision fp16"
    assert [entry["precision"] for entry in result["results"]] == ["fp32", "fp16"]
    assert {entry["boundary"] for entry in result["results"]} == {"frame"}
    assert all(network.closed for network in machine)
    assert told == sorted(told)
    assert told[-1] == 1


def test_it_is_kept_and_the_verdicts_enter_the_ledger(tiny: Bundle, machine: Any) -> None:
    (tiny.path / "parity.json").write_text("{}")
    result = find_fastest(tiny, backends=["fake"], seconds=0)
    assert json.loads((tiny.path / "benchmark.json").read_text()) == json.loads(json.dumps(result))
    kept = {entry["candidate"]["precision"]: entry["verdict"] for entry in tiny.ledger()}
    assert kept == {"fp32": "pass", "fp16": "pass", "int8": "fail"}
    assert (tiny.path / "parity.json").read_text() == "{}"  # the last check that the user asked for stays


def test_frames_of_a_cameras_size_are_timed_and_the_golden_ones_judged(tiny: Bundle, machine: Any) -> None:
    result = find_fastest(tiny, backends=["fake"], wanted=["fp32"], seconds=0, frame_size=(32, 48))
    (entry,) = result["results"]
    assert (entry["frame_size"], entry["size"]) == ("32x48", "16x24")
    assert [entry["frames"] for entry in tiny.ledger()] == [2]
    assert result["fastest"]["winner"]["agreement"] == 100


def test_a_search_may_be_narrowed(tiny: Bundle, machine: Any) -> None:
    result = find_fastest(tiny, backends=["fake"], wanted=["fp32", "int8"], seconds=0)
    assert {candidate["precision"] for candidate in result["fastest"]["candidates"]} == {"fp32", "int8"}
    assert result["fastest"]["winner"]["precision"] == "fp32"
    with pytest.raises(UserError, match=r"--precision: no backend runs int4; .*tiny holds fp32, fp16"):
        find_fastest(tiny, backends=["fake"], wanted=["int4"], seconds=0)
    with pytest.raises(UserError, match=r"^backend: no 'abacus'"):
        find_fastest(tiny, backends=["abacus"], seconds=0)


def test_where_none_passes_there_is_no_winner_and_what_is_kept_stays(tiny: Bundle, machine: Any) -> None:
    (tiny.path / "benchmark.json").write_text("{}")
    result = find_fastest(tiny, backends=["fake"], wanted=["int8"], seconds=0)
    assert result["fastest"]["winner"] is None
    assert result["results"] == []
    assert (tiny.path / "benchmark.json").read_text() == "{}"
    assert [entry["verdict"] for entry in tiny.ledger()] == ["fail"]


def test_what_fails_while_it_runs_is_out_and_the_search_goes_on(
    tiny: Bundle, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "precisions", lambda *_: ["greedy", "broken", "beyond", "fp32"])
    result = find_fastest(tiny, backends=["fake"], batch=3, seconds=0)
    found = {each["precision"]: each for each in result["fastest"]["candidates"]}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "fp32": "pass",
        "broken": "fail",
        "beyond": "fail",
        "greedy": "skipped",
    }
    line = "fake greedy: cannot run a batch of 3 (no memory left); try a smaller --batch"
    assert found["greedy"]["reason"] == line
    assert found["broken"]["reason"].startswith("fake broken: cannot run a batch of 2 (no memory left)")
    assert "class id 1" in found["beyond"]["reason"]
    assert result["fastest"]["winner"]["precision"] == "fp32"
    assert [entry["precision"] for entry in result["results"]] == ["fp32"]
    assert all(network.closed for network in machine)


def test_the_gates_own_work_is_no_noise(tiny: Bundle, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noise.load_before.cache_clear()
    rising = lambda: [float(len(machine)), 0, 0]  # noqa: E731  # with each opening
    monkeypatch.setattr(noise, "load_average", rising)
    result = find_fastest(tiny, backends=["fake"], wanted=["fp32"], seconds=0)
    noise.load_before.cache_clear()
    assert machine
    assert [entry["load"] for entry in result["results"]] == [0]


def test_every_backend_but_the_reference_is_tried(
    tiny: Bundle, without_tensorrt: Any, tmp_path: Path
) -> None:
    without_tensorrt()
    result = find_fastest(tiny, seconds=0, threads=1)
    backends = {candidate["backend"] for candidate in result["fastest"]["candidates"]}
    assert {"onnxruntime-cpu", "tensorrt"} <= backends
    assert "torch" not in backends
    assert result["fastest"]["winner"]["backend"] != "tensorrt"
