"""What a manifest must say: the first key that is wrong is named, whatever else is there."""

from __future__ import annotations

from typing import Any

import pytest

from kd_deploy.runtime.manifest import check_manifest
from tests.runtime.gpu import SOURCE


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What is read of one, and a key that is not."""
    return {
        "classes": ["road", "sky"],
        "palette": [[1, 2, 3], [4, 5, 6]],
        "ignore": 255,
        "input": {"name": "frame", "size": [4, 6]},
        "output": {"name": "mask"},
        "opset": 18,
        "models": {"fp32": "model.fp32.onnx"},
        "precisions": {"fp32": {"opset": 18}},
        "reference": "reference.safetensors",
        "network": {"arch": "segformer", "encoder": "mit_b0"},
        "golden": [{"name": "a", "frame": "golden/0.frame.png", "mask": "golden/0.mask.png"}],
        "thresholds": {"max_miou_drop": 0.5, "min_pixel_agreement": {"fp32": 99.9}},
        "data": {"format": "synthetic"},
        "source": dict(SOURCE),
        "tools": {"torch": "2.15.0", "tensorrt": None},
        "created": "2026-01-01T00:00:00+00:00",
        "files": {},
        "weather": "fine",
    }


def test_a_manifest_with_all_that_may_be_there(manifest: dict[str, Any]) -> None:
    check_manifest(manifest)
    manifest["input"] |= {"size": [32, 64], "multiple": 16, "least": 32, "batch": 2}
    manifest["precisions"]["fp32"]["note"] = "as it is"
    manifest["source"] |= {"views": {"flip": True}, "miou": None, "boundary_iou": 3, "commit": "abc"}
    check_manifest(manifest)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("network",), "segformer", "network must be a section, not 'segformer'"),
        (("network",), {"arch": "segformer"}, "network.encoder is missing"),
        (("network", "arch"), 3, "network.arch must be text, not 3"),
        (("thresholds",), [0.5, 99.9], "thresholds must be a section, not [0.5, 99.9]"),
        (("thresholds", "max_miou_drop"), "half", "thresholds.max_miou_drop must be a number, not 'half'"),
        (("thresholds", "min_pixel_agreement"), 99.9, "min_pixel_agreement must be a section, not 99.9"),
        (
            ("thresholds", "min_pixel_agreement", "fp32"),
            True,
            "min_pixel_agreement.fp32 must be a number, not True",
        ),
        (("thresholds", "min_pixel_agreement"), {"fp16": 99}, "min_pixel_agreement.fp32 is missing"),
        (("input", "batch"), "two", "input.batch must be a number of frames, or dynamic, not 'two'"),
        (("input", "batch"), 0, "input.batch must be a number of frames, or dynamic, not 0"),
        (("input", "batch"), True, "input.batch must be a number of frames, or dynamic, not True"),
        (("input", "size"), "4x6", "input.size must be a list, not '4x6'"),
        (("input", "size"), [4, 6.5], "input.size[1] must be a whole number, not 6.5"),
        (("input", "size"), [4], "input.size must be a height and a width in pixels, not [4]"),
        (("input", "size"), [0, 6], "input.size must be a height and a width in pixels, not [0, 6]"),
        (("classes",), 2, "classes must be a list, not 2"),
        (("classes",), ["road", None], "classes[1] must be text, not None"),
        (("classes",), [], "classes must be 1 to 255 names, not 0"),
        (
            ("classes",),
            ["road", "sky", "car"],
            "palette must have red, green and blue, 0 to 255, of each of the 3",
        ),
        (("palette",), [[1, 2, 3], [4, 5, 256]], "palette must have red, green and blue"),
        (("palette",), [[1, 2, 3], [4, 5]], "palette must have red, green and blue"),
        (("palette",), [[1, 2, 3], "red"], "palette[1] must be a list, not 'red'"),
        (("models", "fp32"), None, "models.fp32 must be text, not None"),
        (("golden",), [{"name": "a", "frame": "golden/0.frame.png"}], "golden[0].mask is missing"),
        (("golden",), [], "golden must name a frame"),
        (("files",), ["model.fp32.onnx"], "files must be a section, not ['model.fp32.onnx']"),
        (("data",), {"size": [4, 6]}, "data.format is missing"),
        (("ignore",), "255", "ignore must be a whole number, not '255'"),
        (("opset",), [18], "opset must be a whole number, not [18]"),
        (("created",), 2026, "created must be text, not 2026"),
        (("precisions",), ["fp32"], "precisions must be a section, not ['fp32']"),
        (("precisions", "fp32"), {"note": 3}, "precisions.fp32.note must be text, not 3"),
        (("source",), "run", "source must be a section, not 'run'"),
        (("source", "miou"), "50", "source.miou must be a number or null, not '50'"),
        (("source", "terms"), "ce", "source.terms must be a list, not 'ce'"),
        (("source", "views"), [1.0], "source.views must be a section, not [1.0]"),
        (("source", "commit"), 5, "source.commit must be text or null, not 5"),
        (("tools", "torch"), 2.15, "tools.torch must be text or null, not 2.15"),
        (("input", "multiple"), "32", "input.multiple must be a whole number, not '32'"),
        (("input", "multiple"), 0, "input.multiple must be 1 or more, not 0"),
        (("input", "multiple"), 4, "input.size must be multiples of 4, 1 or more, not [4, 6]"),
        (("input", "least"), 5, "input.size must be multiples of 1, 5 or more, not [4, 6]"),
    ],
)
def test_a_manifest_that_was_edited_by_hand(
    manifest: dict[str, Any], keys: tuple[str, ...], value: Any, said: str
) -> None:
    *outer, last = keys
    section = manifest
    for key in outer:
        section = section[key]
    section[last] = value
    with pytest.raises(ValueError, match=r"^[a-z]") as caught:
        check_manifest(manifest)
    assert said in str(caught.value)


def test_every_key_is_asked_for(manifest: dict[str, Any]) -> None:
    for key in manifest.keys() - {"weather"}:
        with pytest.raises(ValueError, match=f"^{key} is missing$"):
            check_manifest({name: value for name, value in manifest.items() if name != key})
    with pytest.raises(ValueError, match=r"^it must be a section, not \[1\]$"):
        check_manifest([1])  # type: ignore[arg-type]
