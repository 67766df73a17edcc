"""The models of a bundle: one ONNX file for each precision, and for fp32 one more in the order that CPUs like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from kd_deploy.export import half, quantise
from kd_deploy.export.channels_last import ChannelsLastGraph
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.mix_transformer import rewritten
from kd_deploy.export.onnx_graph import BF16_OPSET, OPSET, Ends, write_onnx
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.runtime.frames import Frame

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-cpu"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

FOR_CPU = "fp32-cpu"
"""The same numbers as fp32, with the channels last behind the encoder."""

NOT_ON_A_CPU = ("bf16",)
"""Precisions for which ONNX Runtime has no convolutions on a CPU: nothing there checks what such a file computes."""

_HALF_FRAMES = 8
"""A trial of half precision takes seconds a frame, and eight say what it overflows."""


@dataclass(frozen=True)
class Written:
    """One model of a bundle.

    Attributes:
        file: its name in the bundle.
        facts: how the precision was chosen, for the manifest.
        note: the same for a person; empty where there was nothing to choose.
    """

    file: str
    facts: dict[str, Any]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its entry under the manifest's `precisions`."""
        return self.facts | ({"note": self.note} if self.note else {})


def spread(total: int, count: int) -> list[int]:
    """At most `count` of `total` indices, evenly spread from the first to the last."""
    indices: list[int] = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    return indices


def check_frames(precisions: Sequence[Precision], count: int) -> None:
    """Raise a UserError where `count` calibration frames are too few for one of the precisions."""
    for precision in precisions:
        if precision == "fp16" or precision == "bf16":
            half.check_frames(count, precision)
        elif precision != "fp32":
            quantise.check_frames(count)


def write_models(
    folder: Path,
    segmenter: Segmenter,
    ends: Ends,
    precisions: Sequence[Precision],
    calibration: Sequence[Frame],
    facts: Mapping[str, object],
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Written]:
    """Write fp32, its form for CPUs, and the other precisions that are asked for; returns them by name.

    Args:
        calibration: frames of the split that was trained on, resized to the deployed size.
        finish: what is done to every float file that can be checked here, once it is written.

    Raises:
        UserError: a precision does not serve this network, or the calibration frames are too few.
    """
    folded = rewritten(segmenter)

    def write(name: str, graph: Any) -> Written:
        file = folder / f"model.{name}.onnx"
        write_onnx(graph, ends, file, {**facts, "precision": name})
        if finish and name not in NOT_ON_A_CPU:
            finish(file)
        return Written(file.name, {"opset": OPSET})

    models = {
        "fp32": write("fp32", DeployedGraph(folded)),
        FOR_CPU: write(FOR_CPU, ChannelsLastGraph(folded)),
    }
    for precision in precisions:
        if precision == "fp16" or precision == "bf16":
            images = [calibration[i].image for i in spread(len(calibration), _HALF_FRAMES)]
            graph, chosen = half.make_half(segmenter, images, precision)
            opset = BF16_OPSET if precision == "bf16" else OPSET
            file = write(precision, graph).file
            models[precision] = Written(file, {"opset": opset, **chosen.to_json()}, str(chosen))
        elif precision == "int8" or precision == "int8-cpu":
            target: Literal["tensorrt", "cpu"] = "tensorrt" if precision == "int8" else "cpu"
            source = models["fp32" if precision == "int8" else FOR_CPU].file
            file = f"model.{precision}.onnx"
            quantised = quantise.quantise(
                folder / source, folder / file, target, calibration, facts={"precision": precision}
            )
            models[precision] = Written(
                file, {"opset": OPSET, **quantised.to_json()}, _note(precision, quantised)
            )
    return models


def _note(precision: str, chosen: quantise.Quantised) -> str:
    bits = "" if chosen.weight_bits == 8 else f", weights of {chosen.weight_bits} bits"
    left = f"{sum(chosen.left.values())} of {', '.join(chosen.left)} stay" if chosen.left else "none stays"
    return (
        f"{precision}: {chosen.agreement:.3f} % of {chosen.held_out_frames} held-out frames' pixels agree with fp32; "
        f"{chosen.quantised} layers in int8, {left} in float32; ranges by {chosen.method}{bits}"
    )
