"""Histograms of latencies, from this version's files and from older ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kd_deploy.report import figures
from kd_deploy.report.bundle import bundle_page
from kd_deploy.report.latency import latencies


def words(drawn: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", drawn)


def result(
    boundary: str = "frame", precision: str = "fp32", samples: Any = (1.0, 2.0, 3.0)
) -> dict[str, Any]:
    """An entry as the first benchmark.json had it, of what the report reads."""
    return {
        "backend": "torch",
        "precision": precision,
        "boundary": boundary,
        "batch": 1,
        "size": "64x96",
        "n": len(samples),
        "p50_ms": 2.0,
        "p90_ms": 2.8,
        "p99_ms": 2.98,
        "fps": 500.0,
        "noise": None,
        "samples_ms": list(samples),
    }


def test_one_plot_a_boundary() -> None:
    drawn = latencies([result("session"), result("frame"), result("session", "int8"), result("video")])
    assert drawn.count("<svg") == 3
    assert words(drawn).count("torch fp32, median 2.0 ms, p99 3.0 ms") == 3
    assert words(drawn).count("torch int8, median 2.0 ms, p99 3.0 ms") == 1
    assert words(drawn).count("milliseconds from frame to frame (log)") == 1
    assert figures.latencies is latencies


def test_frames_of_another_size_have_a_plot_of_their_own() -> None:
    sizes = ("64x96", "720x1280", None)
    drawn = latencies([{**result("frame"), "frame_size": size} for size in sizes])
    assert drawn.count("<svg") == 2
    assert (
        len([word for word in words(drawn) if word.startswith("boundary: frame, frames of 720x1280 (")]) == 1
    )


def test_a_configuration_has_one_colour_in_every_plot() -> None:
    entries = [result("session"), result("session", "int8"), result("frame", "int8")]
    first, second = latencies(entries).split("<svg")[1:]
    assert "var(--c1)" in first
    assert "var(--c2)" in first
    assert "var(--c1)" not in second
    assert "var(--c2)" in second


def test_ticks_are_few_where_samples_differ_much() -> None:
    assert {"1", "2", "5", "10", "20"} <= set(words(latencies([result(samples=(1.0, 2.0, 25.0))])))
    assert "7" not in words(latencies([result(samples=(1.0, 2.0, 25.0))]))
    assert "7" in words(latencies([result(samples=(6.0, 7.0, 8.0))]))
    assert latencies([result(samples=(2.0,))]).count("<svg") == 1


def write(bundle: Path, **content: Any) -> str:
    environment = {"cpu": "abacus", "cores": 2, "os": "Linux", "date": "2026-01-01"}
    (bundle / "benchmark.json").write_text(json.dumps({"environment": environment, **content}))
    html = bundle_page(bundle)
    return html[html.index("<h2>Latency") : html.index("<h2>Golden")]


def test_an_old_file_is_still_read(own_bundle: Path) -> None:
    html = write(own_bundle, results=[result(), result(precision="int8")])
    assert "<td>torch int8</td><td>frame</td>" in html
    assert "abacus, 2 cores, Linux; 2026-01-01." in html
    for later in ("time of the first", "on the GPU", "mJ a frame", "power mode", "Fastest"):
        assert later not in html


def test_a_page_has_what_was_measured(own_bundle: Path) -> None:
    more = {"ratio": 0.25, "device_p50_ms": 1.25, "energy_mj": 87.5, "frame_size": "720x1280"}
    first = {"ratio": 1.0, "device_p50_ms": None, "energy_mj": None}
    winner = {"backend": "torch", "precision": "int8", "p50_ms": 2.0, "command": "kd-deploy infer <here>"}
    html = write(
        own_bundle,
        results=[result() | first, result(precision="int8") | more | {"noise": "noisy: it was"}],
        fastest={"winner": winner, "candidates": []},
    )
    row = html[html.index("<td>torch int8") :]
    assert "<td>1.25</td>" in row
    assert "<td>64x96, frames 720x1280</td>" in row
    assert "<td>0.25 &times;</td><td>87.5</td><td>yes</td>" in row
    assert "torch int8, 2.00 ms from frame to mask. <code>kd-deploy infer &lt;here&gt;</code>" in html
    assert "noisy: it was" in html
    assert "Fastest" not in write(own_bundle, results=[result()], fastest={"winner": None, "candidates": []})
