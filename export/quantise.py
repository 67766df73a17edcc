"""float32 ONNX -> int8 as explicit QuantizeLinear and DequantizeLinear, with what int8 harms left in float."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kd_deploy.export.calibrate import METHODS, Image, Method, histograms, open_session, run
from kd_deploy.export.qdq import WEIGHT_BITS, Range, Target, calibrated, groups, insert, read
from kd_deploy.progress import Progress
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.runtime.metrics import Score

MIN_AGREEMENT = 99.0
"""Percent of the pixels that int8 must give float32's class. At 99.2 to 99.7 % mIoU on CamVid's val moved by 0.1
points or less (both students, both targets); the 99.9 % that fp32 graphs must reach, no int8 graph does."""

MIN_FRAMES = 8
"""Frames that calibration needs at least."""

_HELD_OUT = 4  # every fourth frame judges and does not calibrate


@dataclass(frozen=True)
class Step:
    """One graph that was measured on the held-out frames.

    Attributes:
        weight_bits: 8, or 7 where that agrees better, as it does on CPUs without VNNI (`qdq.WEIGHT_BITS`).
        left: the groups of layers that it leaves in float32.
        agreement: percent of the pixels with float32's class.
        miou: of the graph in points; None without labels.
    """

    method: Method
    weight_bits: int
    left: tuple[str, ...]
    agreement: float
    miou: float | None


@dataclass(frozen=True)
class Quantised:
    """What was written and why.

    Attributes:
        quantised: number of weighted nodes in int8.
        left: weighted nodes in float32, by group of layers.
        steps: the graphs that were compared, the last one written.
        calibration_frames, held_out_frames: how many set the ranges, and how many judged.
        float_miou: of float32 on the held-out frames; None without labels.
    """

    target: Target
    method: Method
    weight_bits: int
    quantised: int
    left: dict[str, int]
    steps: tuple[Step, ...]
    calibration_frames: int
    held_out_frames: int
    float_miou: float | None

    @property
    def agreement(self) -> float:
        return self.steps[-1].agreement

    def to_json(self) -> dict[str, Any]:
        """Its entry of the manifest."""
        return {**asdict(self), "agreement": self.agreement}


def quantise(
    source: Path,
    output: Path,
    target: Target,
    frames: Sequence[Frame],
    *,
    facts: Mapping[str, object] | None = None,
    min_agreement: float = MIN_AGREEMENT,
    silent: bool = False,
) -> Quantised:
    """Write the int8 graph of `source`, a float32 file of `write_onnx`.

    `tensorrt`: int8 on both sides, symmetric, so that every zero point is 0; weights per channel, biases float, and
    Q/DQ in front of Conv, Gemm and MatMul alone (NVIDIA's placement: an output's Q/DQ would part a convolution from
    its activation). `cpu`: convolutions from and to uint8 with the activation inside, MatMul on ranges taken at run
    time: the fastest of 15 ways or within 3 % of it, on one thread of an AVX-512 VNNI CPU (DeepLabV3+ 0.45 to 0.51 of
    float32's time, SegFormer 0.68 to 0.76; all operators quantised 0.44 to 0.51 and 0.73 to 1.09, MatMul with
    calibrated ranges 0.75 to 0.79, TensorRT's graph 1.5 to 1.7 and 0.9 to 1.2).

    The three calibration methods, for the CPU with weights of 8 bits and of 7, are compared on every fourth frame,
    which calibrates nothing. While the best is under `min_agreement`, one more group of layers is left in float32:
    first the one that agrees least when it alone is in int8. (Of one trained DeepLabV3+ 8 groups left so bring 99.00 %
    to 99.81; chosen by what their absence gains, measured once, to 99.44: beside the other groups' errors one group's
    hardly shows.)

    Args:
        frames: (H, W, 3) uint8 BGR images of the graph's size, from the split that was trained on; labels give mIoU.
        facts: what a reader of the file alone should know and `source` does not say, or says otherwise (its precision).
        min_agreement: percent of the held-out frames' pixels.

    Raises:
        UserError: too few frames, nothing to quantise, or float32 is left of the network before it agrees.
    """
    check_frames(len(frames))
    model = read(source)
    held_out = frames[_HELD_OUT - 1 :: _HELD_OUT]
    calibration = [frame.image for i, frame in enumerate(frames) if i % _HELD_OUT != _HELD_OUT - 1]
    layers = groups(model, target)
    if not layers:
        raise UserError(f"{source}: has no layer that {target} runs in int8; keep fp32")
    with Progress(f"int8 for {target}", None, silent=silent) as progress:
        search = _Search(model, target, layers, calibration, held_out, progress)
        graph, steps = search.run(min_agreement)
        known = {entry.key: entry.value for entry in graph.metadata_props}
        new = {key: json.dumps(value) for key, value in (facts or {}).items()}
        onnx.helper.set_model_props(graph, known | new)
        with atomic_file(output) as temporary:
            onnx.save(graph, temporary)
    left = {name: len(layers[name]) for name in steps[-1].left}
    return Quantised(
        target=target,
        method=steps[-1].method,
        weight_bits=steps[-1].weight_bits,
        quantised=sum(map(len, layers.values())) - sum(left.values()),
        left=left,
        steps=steps,
        calibration_frames=len(calibration),
        held_out_frames=len(held_out),
        float_miou=search.float_miou,
    )


def check_frames(count: int) -> None:
    """Raise a UserError where so many calibration frames are too few."""
    if count < MIN_FRAMES:
        raise UserError(
            f"int8: {count} calibration frames are too few, {MIN_FRAMES} or more are needed; "
            "raise --calibration, or name a data set whose training split has them"
        )


class _Search:
    """Tries graphs on the held-out frames until one agrees with float32."""

    def __init__(
        self,
        model: onnx.ModelProto,
        target: Target,
        layers: Mapping[str, Sequence[str]],
        calibration: Sequence[Image],
        held_out: Sequence[Frame],
        progress: Progress,
    ) -> None:
        self._model, self._target, self._layers = model, target, layers
        self._calibration, self._held_out, self._progress = calibration, held_out, progress
        self._ways = list(product(METHODS, WEIGHT_BITS[target]))
        self._done, self._total = 0, 2 * len(calibration) + len(self._ways)
        self._reference = self._masks(model)
        self.float_miou = self._miou(self._reference)

    def run(self, min_agreement: float) -> tuple[onnx.ModelProto, tuple[Step, ...]]:
        """The first graph that agrees, and the steps to it."""
        tensors = calibrated(self._model, self._target)
        found = histograms(self._model, tensors, self._calibration, self._advance)
        ranges = {method: {name: h.range(method) for name, h in found.items()} for method in METHODS}
        tried = [self._try(method, bits, ranges[method], tuple(self._layers)) for method, bits in self._ways]
        graph, best = max(tried, key=lambda trial: trial[1].agreement)
        steps = [step for _, step in tried if step is not best] + [best]
        if best.agreement >= min_agreement:
            return graph, tuple(steps)
        self._total += len(self._layers)
        try_ = partial(self._try, best.method, best.weight_bits, ranges[best.method])
        alone = {name: try_((name,))[1].agreement for name in self._layers}
        order = sorted(alone, key=alone.__getitem__)
        for count in range(1, len(order)):
            self._total += 1
            kept = tuple(name for name in self._layers if name not in order[:count])
            graph, step = try_(kept)
            steps.append(step)
            if step.agreement >= min_agreement:
                return graph, tuple(steps)
        raise UserError(
            f"int8: does not serve this network on {self._target}: {best.agreement:.2f} % of the pixels agree with "
            f"float32 (calibrated by {best.method}), and {steps[-1].agreement:.2f} % with {len(order) - 1} of "
            f"{len(order)} groups of layers left in float32, {min_agreement} % are required; keep fp32 or fp16"
        )

    def _try(
        self, method: Method, weight_bits: int, ranges: Mapping[str, Range], kept: tuple[str, ...]
    ) -> tuple[onnx.ModelProto, Step]:
        nodes = [node for name in kept for node in self._layers[name]]
        graph = insert(self._model, self._target, nodes, ranges, weight_bits)
        masks = self._masks(graph)
        agreement = 100.0 * float(
            np.mean([(a == b).mean() for a, b in zip(masks, self._reference, strict=True)])
        )
        self._advance()
        left = tuple(name for name in self._layers if name not in kept)
        return graph, Step(method, weight_bits, left, agreement, self._miou(masks))

    def _masks(self, graph: onnx.ModelProto) -> list[Image]:
        session = open_session(graph)
        return [run(session, ["mask"], frame.image)[0][0] for frame in self._held_out]

    def _miou(self, masks: Sequence[Image]) -> float | None:
        labelled = [(f, m) for f, m in zip(self._held_out, masks, strict=True) if f.label is not None]
        classes = {p.key: p.value for p in self._model.metadata_props}.get("classes")
        if not labelled or classes is None or len(names := json.loads(classes)) > IGNORE:
            return None
        score = Score(names)
        for frame, mask in labelled:
            assert frame.label is not None
            score.update(frame.label, mask, frame.name)
        return score.result().miou

    def _advance(self) -> None:
        self._done += 1
        self._progress.advance(self._done, self._total)
