"""The demo at its smallest: every file it promises, a page that needs nothing else, and a second go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kd_deploy.demo import run_demo
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video import read_video

TINY = [
    *("data.size=[64,96]", "data.train=8", "data.val=3", "evaluate.every=1", "export.golden=2"),
    *(f"{train}.{key}" for train in ("train", "teacher.train") for key in ("iterations=2", "batch_size=2")),
    *(f"{train}.{key}" for train in ("train", "teacher.train") for key in ("crop=[64,64]", "log_every=1")),
    *(f"{train}.lr_schedule.warmup=0" for train in ("train", "teacher.train")),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd_deploy.demo.DRIVE_SECONDS", 0.2)
        patch.setattr("kd_deploy.demo.BENCHMARK_SECONDS", 0.05)
        assert run_demo(folder, TINY) == folder / "report.html"
    return folder


def test_the_demo_leaves_runs_a_bundle_videos_and_a_report(demo: Path) -> None:
    for run in ("teacher", "student-alone", "student-distilled"):
        assert json.loads((demo / run / "summary.json").read_text())["images"] == 3
    assert json.loads((demo / "student-distilled" / "summary.json").read_text())["terms"] == ["ce", "cwd"]
    bundle = Bundle.open(demo / "bundle")
    assert bundle.size == (64, 96)
    assert json.loads((bundle.path / "parity.json").read_text())["verdict"] == "pass"
    assert {r["backend"] for r in json.loads((bundle.path / "benchmark.json").read_text())["results"]} == {
        "torch",
        "onnxruntime-cpu",
    }
    with read_video(demo / "drive-segmented.mp4") as video:
        assert len(list(video)) == 5


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_needs_no_other_file(demo: Path) -> None:
    html = (demo / "report.html").read_text(encoding="utf-8")
    links = _Links()
    links.feed(html)
    assert len(links.targets) > 10  # pictures and a video
    assert all(target.startswith(("data:", "#")) for target in links.targets)
    assert not re.search(r"@import|url\((?!#)", html)
    for name in ("sidewalk", "cyclist", "student distilled", "onnxruntime-cpu", "boundary IoU"):
        assert name in html
    assert html.count("<svg") == 5


def test_a_second_go_trains_nothing_and_another_seed_is_refused(
    demo: Path, traced: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(demo / "bundle")
    monkeypatch.setattr("kd_deploy.demo.DRIVE_SECONDS", 0.2)
    monkeypatch.setattr("kd_deploy.demo.BENCHMARK_SECONDS", 0.05)
    before = (demo / "teacher" / "metrics.jsonl").read_bytes()
    run_demo(demo, TINY)
    assert (demo / "teacher" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(UserError, match=r"the run has 'seed: 0', the command 'seed: 1'"):
        run_demo(demo, TINY, seed=1)


def test_the_demo_runs_on_synthetic_scenes_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the demo runs on synthetic scenes"):
        run_demo(tmp_path / "out", ["data={format: camvid, root: x}"])
    assert not (tmp_path / "out").exists()
