"""Bundles that are damaged, edited or no bundles, for every command that reads one, and options that name nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.malformed.cases import STREET, encode, snapshot

MANIFEST = "bundle/manifest.json"
EXPORT = "export the bundle again"
Damage = Callable[[Path], object]


def manifest(data: bytes) -> Damage:
    return lambda bundle: (bundle / "manifest.json").write_bytes(data)


def edited(section: str, key: str, value: object) -> Damage:
    """The manifest with another value of `section.key`."""

    def damage(bundle: Path) -> None:
        said = json.loads((bundle / "manifest.json").read_text())
        said[section][key] = value
        (bundle / "manifest.json").write_text(json.dumps(said))

    return damage


def models(data: bytes, *, vouched: bool) -> Damage:
    """Other bytes in every ONNX file; vouched: with their sha256 in the manifest."""

    def damage(bundle: Path) -> None:
        for file in bundle.glob("*.onnx"):
            file.write_bytes(data)
            if vouched:
                edited("files", file.name, hashlib.sha256(data).hexdigest())(bundle)

    return damage


def a_file(bundle: Path) -> None:
    shutil.rmtree(bundle)
    bundle.write_bytes(b"x")


def frame_cut(bundle: Path) -> None:
    file = next((bundle / "golden").glob("*.frame.png"))
    file.write_bytes(file.read_bytes()[:50])


def pipes(bundle: Path) -> None:
    for file in bundle.glob("*.onnx"):
        file.unlink()
        os.mkfifo(file)


NO_BUNDLE = "bundle: is no bundle, manifest.json cannot be read; write one with kd-deploy export"

REFUSED: dict[str, tuple[Damage, str]] = {
    "bundle-that-is-gone": (shutil.rmtree, NO_BUNDLE),
    "bundle-that-is-a-file": (a_file, NO_BUNDLE),
    "manifest-of-zero-bytes": (manifest(b""), f"{MANIFEST}: is damaged (Expecting value"),
    "manifest-of-garbage": (manifest(b"\xde\xad\xbe\xef"), f"{MANIFEST}: is damaged ('utf-8' codec"),
    "manifest-cut-short": (manifest(b'{"schema": 2, "cla'), f"{MANIFEST}: is damaged (Unterminated string"),
    "manifest-of-brackets": (manifest(b"[" * 200_000), f"{MANIFEST}: is damaged (maximum recursion"),
    "manifest-that-is-a-list": (manifest(b"[]"), f"{MANIFEST}: schema None"),
    "limit-that-is-no-number": (
        edited("thresholds", "max_miou_drop", float("nan")),
        f"{MANIFEST}: is damaged (NaN is no number)",
    ),
    "size-that-is-not-the-models": (edited("input", "size", [32, 32]), f"{MANIFEST}: input.size is [32, 32]"),
    "size-of-10-to-the-30": (edited("input", "size", [10**30, 1]), f"{MANIFEST}: input.size is [1000"),
    "model-outside-the-bundle": (edited("files", "../../a.onnx", "0"), f"{MANIFEST}: '../../a.onnx' leads out of"),
    "model-of-an-absolute-path": (edited("files", "/etc/passwd", "0"), f"{MANIFEST}: '/etc/passwd' leads out of"),
    "file-of-a-name-of-300-bytes": (edited("files", "a" * 300, "0"), f"bundle/{'a' * 300}: is missing from"),
    "model-of-zero-bytes": (models(b"", vouched=False), "bundle/model.fp32-cpu.onnx: was changed after the export"),
    "vouched-model-of-zero-bytes": (models(b"", vouched=True), "bundle/model.fp32-cpu.onnx: ONNX Runtime cannot load"),
    "vouched-model-of-text": (models(b"hi" * 99, vouched=True), "bundle/model.fp32-cpu.onnx: ONNX Runtime cannot load"),
    "models-that-are-pipes": (pipes, "bundle/model.fp32-cpu.onnx: is missing from the bundle; copy"),
    "golden-frame-cut-short": (frame_cut, "bundle/golden/000.frame.png: was changed after the export"),
}  # fmt: skip


@pytest.fixture
def bundle(deeplab: Any, here: Path) -> Path:
    return Path(shutil.copytree(deeplab.bundle, here / "bundle"))


@pytest.mark.parametrize(("damage", "line"), REFUSED.values(), ids=REFUSED)
def test_refused(damage: Damage, line: str, here: Path, bundle: Path, kd: Any) -> None:
    """By whatever reads bundles, with the same line."""
    damage(bundle)
    (here / "a.png").write_bytes(encode(".png"))
    before = snapshot(here)
    for command in (
        ["infer", "bundle", "a.png", "-o", "out.png"],
        ["parity", "bundle"],
        ["benchmark", "bundle"],
    ):
        outcome = kd(*command)
        assert outcome.code == 1
        assert outcome.error.startswith(line), outcome.error
        assert snapshot(here) == before


NAMES = {"blank-and-unicode": "my bündle 日本", "line-end-in-a-bundle": "a\nb", "leading-dash-bundle": "-b"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_bundle_of_that_name(name: str, here: Path, bundle: Path, kd: Any) -> None:
    bundle.rename(here / name)
    (here / "a.png").write_bytes(encode(".png", STREET))
    assert kd("infer", "-o", "out.png", "--", name, "a.png").code == 0
    assert (here / "out.png").is_file()


OPTIONS: dict[str, tuple[list[str], int, str]] = {
    "unknown-precision": (["--precision", "fp7"], 1, "holds no fp7 model, only fp32, fp32-cpu; choose one"),
    "unknown-backend": (["--backend", "magic"], 1, "backend: no 'magic'; choose one of onnxruntime-cpu"),
    "backend-that-is-a-path": (["--backend", "../x"], 1, "backend: no '../x'; choose one of"),
    "no-workers": (["--workers", "0"], 2, "Invalid value for '--workers'"),
    "frames-that-are-no-number": (["--frames", "x"], 2, "Invalid value for '--frames'"),
    "unknown-option": (["--magic"], 2, "No such option"),
    "unknown-fit": (["--fit", "crop"], 2, "Invalid value for '--fit'"),
}


@pytest.mark.parametrize(("options", "code", "line"), OPTIONS.values(), ids=OPTIONS)
def test_an_option(options: list[str], code: int, line: str, here: Path, infer: Any) -> None:
    (here / "a.png").write_bytes(encode(".png"))
    outcome = infer("a.png", "-o", "out.png", *options)
    assert outcome.code == code
    assert outcome.out == ""
    assert line in outcome.err.splitlines()[-1]
    assert list(snapshot(here)) == ["a.png"]


BENCHMARK = ["benchmark", "{bundle}", "--seconds", "0", "--video"]
OTHERS: dict[str, tuple[list[str], int, str]] = {
    "benchmark-of-a-video-that-is-gone": ([*BENCHMARK, "gone.mp4"], 1, "gone.mp4: no such video file"),
    "benchmark-of-an-image": ([*BENCHMARK, "a.png"], 1, "a.png: is no video file"),
    "parity-of-an-unknown-precision": (["parity", "{bundle}", "--precision", "fp7"], 1, "holds no fp7 model"),
    "parity-of-data-that-are-gone": (["parity", "{bundle}", "--data", "gone"], 1, "gone/val: is missing"),
    "doctor-of-something": (["doctor", "a.png"], 2, "unexpected extra argument (a.png)"),
    "infer-of-nothing": (["infer", "{bundle}"], 2, "Missing argument 'SOURCE'"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "code", "line"), OTHERS.values(), ids=OTHERS)
def test_other_commands(command: list[str], code: int, line: str, here: Path, deeplab: Any, kd: Any) -> None:
    (here / "a.png").write_bytes(encode(".png"))
    outcome = kd(*(word.format(bundle=deeplab.bundle) for word in command))
    assert outcome.code == code
    assert outcome.out == ""
    assert line in outcome.err.splitlines()[-1]
    assert list(snapshot(here)) == ["a.png"]
