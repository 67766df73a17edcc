"""What scoring a frame costs, and whether the evaluation of a split waits for the model alone.

    python benchmarks/metric.py [--repeats 50] [--bundle DIR] [--frames 8] [--rounds 7] [--json FILE]

First table: one frame of 512x1024 and 19 classes on one thread, in turns: the form in passes (metric_passes.py), ours,
and ours part by part. Second: a split of drawn labels in memory, by `evaluate`, by the model alone and by model and
metric one after the other, in turns; the model only waits, as for a GPU that takes 4 ms a frame, so that it is the
processor's work that shows. Third, with a bundle of a fixed size: the same by ONNX Runtime on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from metric_passes import counts_in_passes
from timing import describe, interleaved, positive, street, table, write_results

from kd_deploy.data.dataset import frames
from kd_deploy.evaluate import count
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.frames import Frame
from kd_deploy.runtime.metrics import Mask, Score, _joint_histograms, _Planes
from kd_deploy.runtime.model import Description, Model, open_model
from kd_deploy.runtime.segment import segment

CLASSES = [f"class {number}" for number in range(19)]
CPU = torch.device("cpu")


def labels(size: tuple[int, int], classes: int) -> tuple[Mask, Mask]:
    """A street's label map, and a prediction that is off by a few pixels along the contours."""
    truth: Mask = street(1, size, classes, CPU)[0].numpy()
    moved = np.roll(truth, (2, 3), (0, 1))
    moved[moved == 255] = 0
    return truth, cv2.medianBlur(moved, 5)


def one_frame(repeats: int) -> dict[str, float]:
    truth, prediction = labels((512, 1024), len(CLASSES))
    score, planes = Score(CLASSES), _Planes((512, 1024), len(CLASSES))
    score.update(truth, prediction)
    if (score.counts() != counts_in_passes(truth, prediction, len(CLASSES))).any():
        raise AssertionError("the two forms count differently")
    regions = planes.regions(truth, prediction).copy()
    contours, widths = planes._contours, planes._widths
    forms: dict[str, Callable[[], object]] = {
        "in passes": lambda: counts_in_passes(truth, prediction, len(CLASSES)),
        "Score.update": lambda: score.update(truth, prediction),
        "contours of the truth, 6 widths": lambda: list(contours.near(truth, widths)),
        "contours of the prediction, 1 width": lambda: list(contours.near(prediction, widths[-1:])),
        "regions, both contours included": lambda: planes.regions(truth, prediction),
        "mIoU alone: histogram of truth and prediction": lambda: confusion(truth, prediction),
        "histogram": lambda: list(_joint_histograms(truth, prediction, regions, len(CLASSES))),
    }
    return {name: median(samples) for name, samples in interleaved(forms, repeats, CPU).items()}


def confusion(truth: Mask, prediction: Mask) -> Any:
    """What mIoU alone would need."""
    count = len(CLASSES)
    return cv2.calcHist([truth, prediction], [0, 1], None, [count, count], [0, count, 0, count])


class Drawn:
    """Labelled frames in memory, as a data set gives them."""

    def __init__(self, size: tuple[int, int], classes: Sequence[str], frames: int) -> None:
        self.classes, self.palette = tuple(classes), np.zeros((len(classes), 3), np.uint8)
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        truth, _ = labels(size, len(classes))
        self._frames = [Frame(f"frame {number}", image, truth) for number in range(frames)]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]


class Waiting(Model):
    """Gives one mask, after the time that a GPU would take."""

    size = (512, 1024)

    def __init__(self, seconds: float) -> None:
        self._seconds, (_, self._mask) = seconds, labels(self.size, len(CLASSES))

    def describe(self) -> Description:
        return Description("waiting", "none", "none", {})

    def _run(self, frames: Mask) -> Mask:
        time.sleep(self._seconds)
        return self._mask[None]

    def _close(self) -> None:
        pass


def split(model: Model, drawn: Drawn, rounds: int) -> dict[str, float]:
    """Milliseconds a frame."""
    whole = range(len(drawn))

    def alone() -> None:
        for number in whole:
            segment(model, drawn[number].image)

    def in_turn() -> None:
        score = Score(drawn.classes)
        for frame in frames(drawn, whole):
            assert frame.label is not None
            score.update(frame.label, segment(model, frame.image), frame.name)

    forms = {"model alone": alone, "one after the other": in_turn, "evaluate": lambda: count(model, drawn)}
    timed = interleaved(forms, rounds, CPU)
    return {name: median(samples) / len(drawn) for name, samples in timed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=positive, default=50)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--frames", type=positive, default=8)
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(describe(CPU))
    results = {"frame": one_frame(options.repeats)}
    print(show("one frame", results["frame"], "in passes"))
    with Waiting(0.004) as model:
        results["waiting"] = split(model, Drawn(model.size, CLASSES, 100), options.rounds)
    print(show("a split, the model 4 ms away, ms a frame", results["waiting"], "model alone"))
    if options.bundle:
        bundle = Bundle.open(options.bundle)
        with open_model(bundle, backend="onnxruntime-cpu", threads=1) as opened:
            if opened.size is None:
                parser.error("--bundle: takes frames of any size; name one of a fixed size")
            results["split"] = split(
                opened, Drawn(opened.size, bundle.classes, options.frames), options.rounds
            )
        print(show("a split, ONNX Runtime, ms a frame", results["split"], "model alone"))
    write_results(options.json, results)


def show(title: str, times: dict[str, float], base: str) -> str:
    rows = [[name, f"{ms:.2f}", f"{ms / times[base]:.3f}"] for name, ms in times.items()]
    return "\n" + table([title, "ms", f"/ {base}"], rows)


if __name__ == "__main__":
    main()
