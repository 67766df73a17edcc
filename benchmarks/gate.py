"""The parity gate proven: one trained student deployed with one bug at a time, and whether the gate stops it.

    python benchmarks/gate.py [--folder DIR] [--json FILE]

A small SegFormer (ResNet-18) is trained on drawn street scenes and exported by the real export in fp32, fp16 and int8;
gate_bugs.py has the bugs. Columns: by how many points mIoU falls with the bug, found over the labelled frames without
the gate; the pixels that agree with PyTorch on the labelled frames; the same and the masks' IoU on the bundle's golden
frames; whether the labelled frames stop it, and whether the golden frames alone do. --folder keeps the run and the
bundle, and takes them from there where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
from gate_bugs import BUGS, Bug, Networks

from kd_deploy.config.load import load_recipe
from kd_deploy.data.scenes import CLASSES, draw_scene
from kd_deploy.data.synthetic import FIRST_VAL
from kd_deploy.deploy import Wanted, export_run
from kd_deploy.export.measure import Remembered
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.models.weights import load, scored_weights
from kd_deploy.run import Run
from kd_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from kd_deploy.runtime.bundle import MANIFEST, Bundle, sha256
from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.files import write_json
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Score
from kd_deploy.runtime.model import Model, open_model
from kd_deploy.runtime.parity import check_bundle, judge_golden
from kd_deploy.runtime.segment import segment_batch
from kd_deploy.training.train import train

FRAMES = 12
RECIPE = (
    "data.size=[64,128]", "data.train=64", f"data.val={FRAMES}", "student.arch=segformer", "student.encoder=resnet18",
    "train.crop=[64,96]", "train.iterations=120", "train.batch_size=6", "train.lr=0.003", "evaluate.every=60",
)  # fmt: skip
PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class Outcome:
    """What a bug does, and what the gate says of it.

    Attributes:
        miou_drop: points that the student loses by it, scored without the gate.
        agreement: percent of the labelled frames' pixels that are PyTorch's.
        golden_agreement, golden_mask_iou: the same of the golden frames, and the IoU of both masks there.
        labelled: why the labelled frames stop it; empty where they let it pass.
        golden: why the golden frames alone stop it.
        verdict: of the gate with labelled data, which asks the golden frames too.
    """

    bug: str
    precision: str
    miou_drop: float
    boundary_drop: float
    agreement: float
    golden_agreement: float
    golden_mask_iou: float
    labelled: list[str]
    golden: list[str]
    verdict: str


@dataclass(frozen=True)
class Student:
    """A trained student: its run, whose checkpoints/step-60.pt is its middle, and its bundle."""

    run: Path
    bundle: Bundle

    @classmethod
    def train(cls, folder: Path) -> Student:
        """Train and export it, or take what an earlier call left in `folder`."""
        run, bundle = folder / "run", folder / "bundle"
        if not (run / "summary.json").exists():
            save = Run.save_checkpoint

            def keep(self: Run, name: str, state: dict[str, Any]) -> None:
                save(self, name, state)
                if name == "last":
                    save(self, f"step-{state['step']}", state)

            with patch.object(Run, "save_checkpoint", keep):
                train(load_recipe("demo", RECIPE), "student", run, device="cpu")
        if not bundle.exists():
            export_run(run, bundle, Wanted(precisions=PRECISIONS, calibration=12, measured=FRAMES))
        return cls(run, Bundle.open(bundle))

    @cached_property
    def networks(self) -> Networks:
        run = Run.open(self.run)
        state = run.load_checkpoint("step-60")
        assert state is not None
        middle: Segmenter = build(run.network.arch, run.network.encoder, len(self.bundle.classes))
        middle.network.load_state_dict(scored_weights(state))
        final = load(run.network, str(run.weights), len(self.bundle.classes), key="student")
        return Networks(final, middle.eval())

    @cached_property
    def reference(self) -> Model:
        return Remembered(open_model(self.bundle, backend="torch"))

    def frames(self, size: tuple[float, float]) -> list[Frame]:
        """The labelled frames, drawn at `size` times that of the model."""
        height, width = (round(factor * side) for factor, side in zip(size, self.bundle.size, strict=True))
        drawn = (draw_scene(0, FIRST_VAL + number, (height, width)) for number in range(FRAMES))
        return [Frame(f"scene {number}", *pair) for number, pair in enumerate(drawn)]

    @contextmanager
    def deployed(self, bug: Bug, folder: Path) -> Iterator[tuple[Bundle, Model]]:
        """A bundle in `folder` with the bug in its file of the bug's precision, and what runs it."""
        bundle = self._copied(bug, folder)
        with OnnxRuntimeCpu(bundle, bug.precision) as model:
            yield bundle, Remembered(bug.wrap(model))  # the golden frames are asked for twice

    def _copied(self, bug: Bug, folder: Path) -> Bundle:
        (folder / "golden").mkdir(parents=True)
        manifest = self.bundle.manifest
        names = [name for name in manifest["files"] if name.startswith("golden/")]
        for name in names:
            os.link(self.bundle.file(name), folder / name)
        file = manifest["models"][bug.precision]
        model = onnx.load(self.bundle.model_file(bug.precision))
        bug.edit(model, self.networks)
        onnx.save(model, folder / file)
        own = {"models": {bug.precision: file}, "files": {n: sha256(folder / n) for n in (*names, file)}}
        write_json(folder / MANIFEST, manifest | own)
        return Bundle.open(folder)


def judge(student: Student, bug: Bug, folder: Path) -> Outcome:
    """Deploy the student with a bug in the empty `folder`, score it without the gate, then ask the gate."""
    frames = student.frames(bug.size)
    right = score(student.reference, frames)
    with student.deployed(bug, folder) as (bundle, model), bug.pipeline():
        wrong = score(model, frames)
        report = check_bundle(bundle, model, student.reference, frames)
        golden = judge_golden(bundle, model)
    return Outcome(
        bug=bug.name,
        precision=bug.precision,
        miou_drop=right[0] - wrong[0],
        boundary_drop=right[1] - wrong[1],
        agreement=report.pixel_agreement,
        golden_agreement=golden.pixel_agreement,
        golden_mask_iou=golden.mask_iou,
        labelled=[reason for reason in report.reasons if not reason.startswith("golden frames: ")],
        golden=list(golden.reasons),
        verdict=report.verdict,
    )


def score(model: Model, frames: Sequence[Frame]) -> tuple[float, float]:
    """mIoU and boundary IoU of a model that gets two frames at once."""
    total = Score(CLASSES)
    for first in range(0, len(frames), 2):
        pair = frames[first : first + 2]
        for frame, mask in zip(pair, segment_batch(model, [f.image for f in pair]), strict=True):
            assert frame.label is not None
            total.update(frame.label, mask)
    result = total.result()
    assert result.miou is not None
    assert result.boundary_iou is not None
    return result.miou, result.boundary_iou


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    head = (
        "bug", "precision", "mIoU falls by", "boundary IoU by", "agreement, %", "golden agreement, %",
        "golden masks' IoU", "stopped by labelled frames", "by golden frames alone",
    )  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for o in outcomes:
        numbers = (o.miou_drop, o.boundary_drop, o.agreement, o.golden_agreement, o.golden_mask_iou)
        stopped = ("yes" if reasons else "no" for reasons in (o.labelled, o.golden))
        lines.append((o.bug, o.precision, *(f"{number:.2f}" for number in numbers), *stopped))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        student = Student.train(options.folder or Path(temporary) / "student")
        sound = [Bug("none", name) for name in ("fp32", "fp32-cpu", *PRECISIONS)]
        outcomes = [
            judge(student, bug, Path(temporary) / str(number)) for number, bug in enumerate([*sound, *BUGS])
        ]
        summary = Run.open(student.run).summary()
    print(f"mIoU of the student: {summary['miou']:.2f}, boundary IoU {summary['boundary_iou']:.2f}\n")
    print(table(outcomes))
    if options.json:
        write_json(options.json, {"outcomes": [asdict(o) for o in outcomes], "environment": environment()})
        print(f"\n{options.json}: {len(json.loads(options.json.read_text())['outcomes'])} outcomes")


if __name__ == "__main__":
    main()
