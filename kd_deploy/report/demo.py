"""The demo's report: what was trained, what it scored, what was deployed and how fast it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_deploy.compare import gap_closed
from kd_deploy.config.schema import Recipe
from kd_deploy.data.dataset import open_dataset
from kd_deploy.deploy import open_for_evaluation
from kd_deploy.report import figures
from kd_deploy.report.frames import css, file_uri, largest, panels, row, segmented, write_sheet
from kd_deploy.report.page import render, write_page
from kd_deploy.run import Run
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.infer import InferReport
from kd_deploy.runtime.parity import ParityReport

FRAMES = 4


@dataclass(frozen=True)
class Results:
    """What the demo found out. `runs` are the teacher, the student alone and the student distilled, by name."""

    recipe: Recipe
    runs: dict[str, Run]
    bundle: Bundle
    parity: ParityReport
    benchmark: dict[str, Any]
    video: InferReport


def write_report(path: Path, results: Results) -> Path:
    """Write the page, pictures and video inside it, and return its path."""
    teacher, alone, distilled = results.runs
    summaries = {name: run.summary() for name, run in results.runs.items()}
    records = {name: list(run.records()) for name, run in results.runs.items()}
    dataset = open_dataset(results.recipe.data, "val")
    models = {
        name: open_for_evaluation(run.path, None, "val", backend="torch", precision="fp32", device="cpu")[0]
        for name, run in results.runs.items()
    }
    found = largest(segmented(models, dataset), lambda frame: frame.lead(distilled, alone), FRAMES)
    write_sheet(path.parent / "frames.png", [panels(comparison, dataset.palette) for comparison in found])
    html = render(
        "demo.html.j2",
        summaries=summaries,
        gap=gap_closed(*(summaries[name]["miou"] for name in (teacher, alone, distilled))),
        classes=class_rows(summaries),
        palette={name: css(color) for name, color in zip(dataset.classes, dataset.palette, strict=True)},
        curves=figures.curves(records),
        terms=figures.terms(records),
        frames=[row(comparison, dataset.palette) for comparison in found],
        parity=results.parity.to_json(),
        benchmark=results.benchmark,
        latencies=figures.latencies(results.benchmark["results"]),
        video=results.video,
        video_uri=file_uri(path.parent / "drive-segmented.webm", "video/webm"),
        manifest=results.bundle.manifest,
        recipe=results.recipe,
    )
    return write_page(path, html)


def class_rows(summaries: dict[str, Any]) -> list[tuple[str, list[float | None]]]:
    """(class, IoU of each run in order), the classes as the data set orders them."""
    names = next(iter(summaries.values()))["classes"]
    return [(name, [summary["classes"][name] for summary in summaries.values()]) for name in names]
