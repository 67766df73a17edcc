"""onnxsim as an option: the same masks and facts, or one line that says what is missing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kd_deploy.deploy import Wanted, export_run
from kd_deploy.export import bundle as writing
from kd_deploy.export.onnx_graph import BF16_OPSET, Ends, check
from kd_deploy.export.simplify import simplify
from kd_deploy.runtime.errors import MissingComponentError


@pytest.fixture
def own(precise: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a model that a test may rewrite."""
    return lambda name: Path(shutil.copy(precise / f"model.{name}.onnx", tmp_path))


def facts(file: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


@pytest.mark.parametrize("name", ["fp32", "fp32-cpu", "fp16"])
def test_masks_ends_and_facts_stay(
    own: Callable[[str], Path], precise: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxsim", reason="onnxsim is an option")
    file, before = own(name), precise / f"model.{name}.onnx"
    counts = simplify(file)
    assert capsys.readouterr().out == ""
    assert counts == (len(onnx.load(before).graph.node), len(onnx.load(file).graph.node))
    assert facts(file) == facts(before)
    check(file, Ends((64, 96)))
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    found, expected = (
        onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"]).run(["mask"], {"frame": frames})[
            0
        ]
        for f in (file, before)
    )
    assert (found == expected).mean() > 0.999


def test_what_a_cpu_cannot_run_keeps_its_opset(own: Callable[[str], Path]) -> None:
    pytest.importorskip("onnxsim", reason="onnxsim is an option")
    simplify(file := own("bf16"))
    check(file, Ends((64, 96)), BF16_OPSET)


def test_without_onnxsim(own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    file = own("fp32")
    before = file.read_bytes()
    with pytest.raises(
        MissingComponentError, match=r"^onnxsim: cannot be imported .*; pip install onnxsim, or"
    ):
        simplify(file)
    assert file.read_bytes() == before


@pytest.mark.usefixtures("untraceable")
def test_without_onnxsim_nothing_is_begun(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    with pytest.raises(MissingComponentError, match=r"^onnxsim: cannot be imported"):
        export_run(trained, tmp_path / "bundle", Wanted(simplify=True))
    assert list(tmp_path.iterdir()) == []


def test_every_float_model_that_can_be_checked_is_simplified(
    trained: Path,
    precise: Path,
    traced: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxsim", reason="onnxsim is an option")
    seen: list[str] = []
    monkeypatch.setattr(writing, "simplify", lambda file: seen.append(file.name))
    traced(precise)
    export_run(
        trained, tmp_path / "bundle", Wanted(precisions=("bf16",), calibration=4, simplify=True, measured=1)
    )
    assert seen == ["model.fp32.onnx", "model.fp32-cpu.onnx"]
    export_run(trained, tmp_path / "plain")
    assert len(seen) == 2
