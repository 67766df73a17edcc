"""A bundle's page, with and without a parity check and a benchmark."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from kd_deploy.report.bundle import bundle_page
from kd_deploy.runtime.benchmark import benchmark_bundle
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.parity import check_bundle


def test_a_bundle_that_was_never_checked(own_bundle: Path) -> None:
    html = bundle_page(own_bundle)
    assert f"kd-deploy parity {own_bundle}" in html
    assert f"kd-deploy benchmark {own_bundle}" in html
    assert html.count("PyTorch&#39;s mask<") == 2  # the golden frames
    assert "uint8 (N, 64, 96, 3) BGR" in html
    spaced = own_bundle.rename(own_bundle.parent / "my bundle")
    html = unescape(bundle_page(spaced))
    assert f"kd-deploy parity '{spaced}'<" in html
    assert f"kd-deploy benchmark '{spaced}'<" in html
    assert "kd-deploy infer 'my bundle' street.mp4" in html


def test_a_bundle_that_was_checked_and_timed(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    with open_model(bundle) as model:
        check_bundle(bundle, model)
        benchmark_bundle(bundle, [model], seconds=0)
    html = bundle_page(own_bundle)
    assert '<span class="pass">pass</span>: onnxruntime-cpu fp32' in html
    assert "boundary: session" in html
    assert "a frame, median, onnxruntime-cpu fp32" in html
    report = json.loads((own_bundle / "parity.json").read_text())
    (own_bundle / "parity.json").write_text(
        json.dumps(report | {"verdict": "fail", "reasons": ["class <x> is lost"]})
    )
    html = bundle_page(own_bundle)
    assert '<span class="fail">fail</span>' in html
    assert "class &lt;x&gt; is lost" in html


def test_the_ledger_is_a_table(own_bundle: Path) -> None:
    bundle = Bundle.open(own_bundle)
    with open_model(bundle) as model:
        check_bundle(bundle, model)
    html = bundle_page(own_bundle)
    table = html[html.index("<h2>Ledger</h2>") : html.index("<h2>Latency</h2>")]
    lines = [re.findall(r"<td>(.*?)</td>", line) for line in table.split("<tr>")[2:]]
    teacher, student, deployed = lines
    assert teacher[0] == "teacher, deeplabv3plus on resnet18"
    assert student[0] == "student, deeplabv3plus on mobilenet_v2"
    assert student[2] == f"{bundle.manifest['source']['miou']:.2f}"
    assert student[8] == "–"
    assert deployed[0] == "onnxruntime-cpu fp32-cpu"
    assert deployed[6:9] == ["100.000", "2 golden", '<span class="pass">pass</span>']
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*", line[9]) for line in lines)


def test_entries_of_an_older_ledger_have_dashes(own_bundle: Path) -> None:
    old = {"candidate": {"backend": "old", "precision": "fp32", "device": "a board"}, "verdict": "pass"}
    (own_bundle / "ledger.json").write_text(json.dumps([old]))
    html = bundle_page(own_bundle)
    assert "<td>old fp32</td><td>a board</td><td>–</td>" in html


def test_views_that_the_bundle_does_not_have_stand_beside_the_score(own_bundle: Path) -> None:
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    assert "whole picture" not in bundle_page(own_bundle)
    manifest["source"]["views"] = {"window": None, "stride": None, "scales": [0.5, 1.0], "flip": True}
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    assert "(whole picture, scales 0.5, 1 and flipped)" in bundle_page(own_bundle)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_result_is_named(own_bundle: Path, text: str) -> None:
    (own_bundle / "benchmark.json").write_text(text)
    own_bundle = own_bundle.rename(own_bundle.parent / "my bundle")
    with pytest.raises(UserError, match=r"json: is damaged .* run kd-deploy benchmark '.*/my bundle' again"):
        bundle_page(own_bundle)
