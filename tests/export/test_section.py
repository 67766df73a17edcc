"""What somebody edited by hand in a manifest is one line, whoever reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.report.bundle import bundle_page
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import open_model

Edit = Callable[[dict[str, Any]], None]


def refusal(folder: Path, edit: Edit, read: Callable[[], object]) -> str:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    edit(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError) as caught:
        read()
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert line.endswith("; export the bundle again")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda m: m["source"].update(views={"zoom": 2}), "source.views.zoom: "),
        (lambda m: m["source"].update(views={"flip": "often"}), "source.views.flip: "),
        (lambda m: m["source"].update(miou="much"), "source.miou must be a number or null, not 'much'"),
        (lambda m: m.update(source="a run"), "source must be a section, not 'a run'"),
        (lambda m: m.pop("source"), "source is missing"),
    ],
)
def test_a_page_of_an_edited_manifest(own_bundle: Path, edit: Edit, said: str) -> None:
    assert said in refusal(own_bundle, edit, lambda: bundle_page(own_bundle))


def test_the_reference_of_an_edited_manifest(own_bundle: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["network"]["arch"] = "nope"

    said = refusal(own_bundle, edit, lambda: open_model(Bundle.open(own_bundle), backend="torch"))
    assert "network.arch: " in said
