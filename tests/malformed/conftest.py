"""`kd-deploy infer` in a folder of its own, and the model that says what would be right."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_deploy.runtime.model import Model, open_model
from tests.malformed.cases import Refusal, snapshot

# FFmpeg reads it once in a process, at its first video: before the command under test could set it.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def infer(deeplab: Any, here: Path, kd: Any) -> Callable[..., Any]:
    return lambda *arguments: kd("infer", deeplab.bundle, *arguments)


@pytest.fixture
def refuses(infer: Callable[..., Any], here: Path) -> Callable[[Refusal], None]:
    """Check that a case ends in its line and its code, and that nothing in the folder has changed."""

    def check(case: Refusal) -> None:
        case.make(here)
        before = snapshot(here)
        outcome = infer(*case.arguments)
        assert re.match(case.line, outcome.error), outcome.error
        assert re.search(r"; \w+", outcome.error), "no remedy"
        assert outcome.code == case.code
        assert snapshot(here) == before

    return check


@pytest.fixture(scope="session")
def public_bundle(deeplab: Any) -> Iterator[Path]:
    """A bundle that every user of the machine may read; pytest's own folders are for one alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(deeplab.bundle, folder / "bundle")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder / "bundle"


@pytest.fixture
def public(public_bundle: Path) -> Iterator[Path]:
    """A folder that every user may use, beside a link to that bundle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "bundle").symlink_to(public_bundle)
        yield folder


@pytest.fixture(scope="session")
def model(deeplab: Any) -> Iterator[Model]:
    with open_model(deeplab.bundle) as opened:
        yield opened


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pictures that the command segments."""
    from kd_deploy.runtime.segment import segment

    pictures: list[Any] = []

    def watched(model: Model, image: Any, fit: Any) -> Any:
        pictures.append(image)
        return segment(model, image, fit)

    monkeypatch.setattr("kd_deploy.runtime.infer.images.segment", watched)
    monkeypatch.setattr("kd_deploy.runtime.infer.video.segment", watched)
    return pictures
