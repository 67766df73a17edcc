"""How many models a source is worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.infer import workers
from kd_deploy.runtime.infer.workers import open_models, workers_for
from kd_deploy.runtime.video.source import parse_source
from tests.runtime.conftest import FakeModel


@pytest.mark.parametrize(
    ("text", "backend", "count"),
    [
        ("a.mp4", "onnxruntime-cpu", 4),
        ("a.mp4", "openvino", 4),
        ("a.mp4", "tensorrt", 1),
        ("a.mp4", "torch", 1),
        ("0", "onnxruntime-cpu", 1),
        ("rtsp://h/s", "onnxruntime-cpu", 1),
        ("a.png", "onnxruntime-cpu", 1),
        ("folder", "onnxruntime-cpu", 1),
    ],
)
def test_a_video_file_on_the_cpu_gets_a_worker_a_core(
    text: str, backend: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 16)
    assert workers_for(parse_source(text), backend) == count
    monkeypatch.setattr(workers, "cores", lambda: 2)
    assert workers_for(parse_source(text), backend) == min(count, 2)


@pytest.mark.parametrize(("cores", "count", "threads"), [(2, 1, None), (2, 2, 1), (16, 4, 4), (2, 3, 1)])
def test_models_share_the_cores(
    cores: int, count: int, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def fake(bundle: object, *, backend: str, precision: str, threads: int | None) -> FakeModel:
        asked.append(threads)
        return FakeModel()

    monkeypatch.setattr(workers, "open_model", fake)
    monkeypatch.setattr(workers, "cores", lambda: cores)
    bundle: Bundle = Path()  # type: ignore[assignment]
    with open_models(bundle, count, backend="b", precision="p") as models:
        assert len(models) == count
    assert asked == [threads] * count
