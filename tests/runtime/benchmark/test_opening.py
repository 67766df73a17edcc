"""What is opened, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from kd_deploy.runtime.benchmark import opening
from kd_deploy.runtime.benchmark.opening import configurations, open_all
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError

RUNS = {"onnxruntime-cpu": ["fp32", "fp16", "int8-cpu"], "torch": ["fp32"], "tensorrt": ["fp32", "int8"]}


@pytest.fixture
def some_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "precisions", lambda backend, bundle: RUNS[backend])


@pytest.mark.parametrize(
    ("backends", "precisions", "expected"),
    [
        (["onnxruntime-cpu"], ["fp32"], "onnxruntime-cpu fp32"),
        (["torch"], ["int8"], "torch int8"),  # opening it says why not
        (["torch", "torch"], ["fp32", "fp32"], "torch fp32"),
        (
            ["torch", "onnxruntime-cpu"],
            ["fp32", "fp16"],
            "torch fp32, onnxruntime-cpu fp32, onnxruntime-cpu fp16",
        ),
        (["onnxruntime-cpu", "tensorrt"], ["int8-cpu", "int8"], "onnxruntime-cpu int8-cpu, tensorrt int8"),
        (["torch", "tensorrt"], ["fp32", "int4"], "torch fp32, tensorrt fp32, torch int4, tensorrt int4"),
        (
            ["torch", "tensorrt"],
            ["int8", "int4"],
            "torch int8, tensorrt int8, torch int4, tensorrt int4",
        ),
    ],
)
def test_combinations(
    some_run: None, tiny: Bundle, backends: list[str], precisions: list[str], expected: str
) -> None:
    found = configurations(tiny, backends, precisions)
    assert ", ".join(map(" ".join, found)) == expected


def test_an_unknown_backend_is_an_error(tiny: Bundle) -> None:
    with pytest.raises(UserError, match=r"^backend: no 'abacus'; choose one of "):
        configurations(tiny, ["abacus", "onnxruntime-cpu"], ["fp32", "fp16"])


def test_memory_is_noted_around_each_opening(tiny: Bundle) -> None:
    with open_all(tiny, [("onnxruntime-cpu", "fp32"), ("onnxruntime-cpu", "fp16")], threads=1) as opened:
        facts = [each.to_json() for each in opened]
        assert [each.model.describe().precision for each in opened] == ["fp32", "fp16"]
    assert all(fact["threads"] == 1 and set(fact["memory"]) == {"before", "opened"} for fact in facts)
    assert all(set(fact["memory"]["opened"]) == {"rss_mb", "peak_mb", "gpu_mb"} for fact in facts)


def test_where_one_cannot_be_opened_none_stays_open(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Opened:
        def __init__(self, name: str) -> None:
            self.model = self
            self.name = name

        def __enter__(self) -> None: ...

        def __exit__(self, *reason: Any) -> None:
            closed.append(self.name)

    def open_measured(bundle: Bundle, configuration: tuple[str, str], threads: int | None) -> Opened:
        if configuration[1] == "int8":
            raise UserError("no such precision")
        return Opened(configuration[1])

    monkeypatch.setattr(opening, "open_measured", open_measured)
    with pytest.raises(UserError), open_all(tiny, [("a", "fp32"), ("a", "fp16"), ("a", "int8")]):
        pass
    assert closed == ["fp16", "fp32"]
