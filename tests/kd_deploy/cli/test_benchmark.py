"""`kd-deploy benchmark`: tables, JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from kd_deploy.runtime.benchmark import benchmark_all
from kd_deploy.runtime.benchmark.tegrastats import Watch, parse, summarise
from kd_deploy.runtime.bundle import Bundle


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about how long it took."""
    from kd_deploy.runtime.benchmark.turns import Calls

    monkeypatch.setattr(Calls, "warm_up", lambda self, seconds: None)


def test_against_the_reference_with_a_ratio(own_bundle: Path, kd: Any) -> None:
    options = ("--against", "torch", "--threads", 1, "--seconds", 0, "--boundary", "session")
    outcome = kd("benchmark", own_bundle, *options)
    assert outcome.code == 0
    titles = next(line for line in outcome.out.splitlines() if "backend" in line)
    assert [title.strip() for title in titles.strip("┃ \n").split("┃")][-3:] == ["fps", "ratio", "noisy"]
    first, second = json.loads((own_bundle / "benchmark.json").read_text())["results"]
    assert (first["backend"], first["ratio"], first["threads"]) == ("torch", 1.0, 1)
    assert second["ratio"] == pytest.approx(second["p50_ms"] / first["p50_ms"])
    assert "batch 1 of 64x96" in outcome.out


def test_one_configuration_has_no_ratio_and_says_when_it_was_noisy(
    tiny: Bundle, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_deploy.runtime.benchmark.turns.load_before", lambda: 7.0)
    outcome = kd("benchmark", tiny.path, "--seconds", 0, "--boundary", "frame")
    assert "ratio" not in outcome.out
    assert "yes" in outcome.out
    assert "7.00 processes per core just before; stop other programs" in outcome.out
    result = json.loads((tiny.path / "benchmark.json").read_text())["results"][0]
    assert (result["load"], "7.00 processes" in result["noise"]) == (7.0, True)


def test_several_precisions_and_a_video(tiny: Bundle, video: Path, kd: Any) -> None:
    options = ("--precision", "fp32", "--precision", "fp16", "--video", video, "--boundary", "frame")
    result = json.loads(kd("benchmark", tiny.path, *options, "--seconds", 0, "--json").out)["results"]
    assert [(entry["precision"], entry["boundary"]) for entry in result] == [
        (precision, boundary) for boundary in ("frame", "video") for precision in ("fp32", "fp16")
    ]
    assert all(entry["n"] >= 50 and entry["memory"]["opened"] for entry in result)


def test_the_fastest_and_how_to_use_it(tiny: Bundle, kd: Any, without_tensorrt: Any) -> None:
    without_tensorrt()
    options = ("--fastest", "--backend", "onnxruntime-cpu", "--backend", "tensorrt", "--seconds", 0)
    outcome = kd("benchmark", tiny.path, *options)
    assert outcome.code == 0
    assert "fastest that passes: onnxruntime-cpu fp" in outcome.out
    command = outcome.out.splitlines()[-1]
    assert command.startswith(
        f"kd-deploy infer {tiny.path} SOURCE -o OUT --backend onnxruntime-cpu --precision fp"
    )
    kept = json.loads((tiny.path / "benchmark.json").read_text())
    assert kept["fastest"]["winner"]["command"] == command
    assert json.loads(kd("benchmark", tiny.path, *options, "--json").out)["fastest"]["winner"]


def test_where_none_passes_it_is_4_and_where_none_runs_3(
    tiny: Bundle, kd: Any, without_tensorrt: Any
) -> None:
    without_tensorrt()
    outcome = kd("benchmark", tiny.path, "--fastest", "--backend", "tensorrt", "--seconds", 0)
    assert outcome.code == 3
    assert "none passes: nothing could be run" in outcome.err
    assert "libnvinfer.so.10" in outcome.out
    manifest = json.loads((tiny.path / "manifest.json").read_text())
    manifest["thresholds"]["min_pixel_agreement"]["fp32"] = 100.5
    (tiny.path / "manifest.json").write_text(json.dumps(manifest))
    outcome = kd(
        "benchmark", tiny.path, "--fastest", "--backend", "onnxruntime-cpu", "--seconds", 0, "--json"
    )
    assert outcome.code == 4
    assert "none passes: the golden frames fail it" in outcome.err
    assert json.loads(outcome.out)["fastest"]["winner"] is None


def test_frames_of_a_cameras_size(tiny: Bundle, kd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[Any]] = {"session": set(), "frame": set()}

    def watched(models: Any, *, boundary: str, frames: Any, **options: Any) -> Any:
        seen[boundary] |= {frame.shape[:2] for frame in frames}
        return benchmark_all(models, boundary=boundary, frames=frames, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("kd_deploy.runtime.benchmark.results.benchmark_all", watched)
    outcome = kd("benchmark", tiny.path, "--seconds", 0, "--frame-size", "72x128")
    assert outcome.code == 0
    assert "frame_size" in outcome.out
    assert outcome.out.count("72x128") == 1  # a session takes what is ready
    assert seen == {"session": {(16, 24)}, "frame": {(72, 128)}}
    entries = json.loads((tiny.path / "benchmark.json").read_text())["results"]
    assert [(entry["size"], entry["frame_size"]) for entry in entries] == [
        ("16x24", None),
        ("16x24", "72x128"),
    ]
    assert "frame_size" not in kd("benchmark", tiny.path, "--seconds", 0).out


def test_the_fastest_on_frames_of_a_cameras_size(tiny: Bundle, kd: Any) -> None:
    options = ("--fastest", "--backend", "onnxruntime-cpu", "--seconds", 0)
    assert (
        "ms from a frame of 72x128 to mask"
        in kd("benchmark", tiny.path, *options, "--frame-size", "72x128").out
    )
    assert "ms from frame to mask" in kd("benchmark", tiny.path, *options).out


def test_a_frame_size_that_says_nothing_or_does_not_fit(
    tiny: Bundle, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = kd("benchmark", tiny.path, "--boundary", "session", "--frame-size", "72x128")
    assert outcome.code == 2
    assert "--frame-size is of the boundary frame alone; add --boundary frame" in outcome.err
    assert kd("benchmark", tiny.path, "--frame-size", "72").code == 2

    def no_memory(*frame: Any) -> Any:
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr("kd_deploy.runtime.benchmark.results.to_size", no_memory)
    outcome = kd("benchmark", tiny.path, "--boundary", "frame", "--frame-size", "72x128", "--seconds", 0)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "error: --frame-size 72x128: the memory does not hold 2 golden frames of that size; ask for a smaller one"
    )


def test_a_backend_whose_library_is_missing_is_3(tiny: Bundle, kd: Any, without_tensorrt: Any) -> None:
    without_tensorrt()
    backends = ("--backend", "onnxruntime-cpu", "--backend", "tensorrt")
    for precisions in (("--precision", "fp32"), ("--precision", "fp32", "--precision", "fp16")):
        outcome = kd("benchmark", tiny.path, *backends, *precisions, "--seconds", 0)
        assert outcome.code == 3
        assert "tensorrt" in outcome.error
    assert not (tiny.path / "benchmark.json").exists()


@pytest.mark.parametrize(
    "options", [("--against", "torch"), ("--boundary", "session"), ("--video", "drive.mp4")]
)
def test_what_the_search_would_ignore_is_2(tiny: Bundle, kd: Any, options: tuple[str, str]) -> None:
    outcome = kd("benchmark", tiny.path, "--fastest", *options)
    assert outcome.code == 2
    assert "--fastest times frame to mask alone" in outcome.err


def test_a_video_boundary_without_a_file_is_1(tiny: Bundle, kd: Any) -> None:
    outcome = kd("benchmark", tiny.path, "--boundary", "video")
    assert outcome.code == 1
    assert outcome.error == "--boundary video: needs a file; name one with --video FILE"
    outcome = kd("benchmark", tiny.path, "--video", "gone.mp4")  # before anything is timed
    assert (outcome.code, outcome.error) == (1, "gone.mp4: no such video file; check the path")


def test_a_jetsons_power_and_clocks_stand_below_the_table(
    tiny: Bundle, kd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "CPU [1%@729,2%@1510] GR3D_FREQ 58%@[611] tj@49.1C VDD_IN 8840mW/8112mW VDD_SOC 90mW/87mW"
    power = summarise([parse(line)])
    monkeypatch.setattr(Watch, "during", lambda self, spans: power)
    monkeypatch.setattr("kd_deploy.runtime.environment.power_mode", lambda: "MODE_15W")
    outcome = kd("benchmark", tiny.path, "--seconds", 0, "--boundary", "frame")
    assert "energy_mj" in outcome.out
    assert "cores, power mode MODE_15W" in outcome.out
    said = "8.84 W (VDD_IN), GPU 611 to 611 MHz, CPU 729 to 1510 MHz, 49 °C at most"
    assert f"onnxruntime-cpu fp32, frame: {said}" in outcome.out
    (entry,) = json.loads((tiny.path / "benchmark.json").read_text())["results"]
    assert entry["power"]["rails_mw"] == {"VDD_IN": 8840.0, "VDD_SOC": 90.0}
    assert entry["energy_mj"] == pytest.approx(8840 / entry["fps"])
