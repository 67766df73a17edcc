"""A frame's way to its mask on ONNX Runtime's CPU: the plain way that is usually written, against what export writes.

    python benchmarks/export.py [--run RUN...] [--size HxW] [--threads N] [--repeats R] [--bundle BUNDLE...]
                                [--json FILE] [--quick]

Frame to mask: every graph of a student, timed in turns. The students are those of the recipes with random weights and
19 classes, or the runs that are given. plain: smp's network as it stands there (SegFormer with smp's own head), by
torch.onnx; NumPy normalises, logits at stride 4 come out as floats, OpenCV enlarges them and NumPy takes the argmax.
plain, upsampled inside: logits at full size, NumPy's argmax. plain's session: what of plain's time is ONNX Runtime's.
Ours take the uint8 frame and give the uint8 mask. agreement: equal pixels with fp32 over the drawn scenes that are
timed; of random weights it says little. fp16 and int8 keep in float32 what overflow asks for and no more, so these are
their best times. export s, peak MB: of the child process that wrote the file, Python and torch included.

The tail alone: logits to mask in the forms that were considered (tails.py), each held against PyTorch first.
Shares: where fp32-cpu spends its time, by ONNX Runtime's profile on one thread, medians of each node.

--bundle reads the ledger of a bundle that `kd-deploy export RUN -o BUNDLE --precision ...` wrote: trained weights on
real frames.
"""

from __future__ import annotations

import argparse
import ast
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from graphs import (
    CLASSES,
    INSIDE,
    OURS,
    PLAIN,
    Image,
    Student,
    Written,
    export_all,
    open_session,
    our_way,
    plain_way,
    session_options,
)
from tails import FACTOR, reference, resize_then_argmax, tails
from timing import describe, interleaved, milliseconds, positive, say, table, write_results

from kd_deploy.data.scenes import draw_scene
from kd_deploy.runtime.bundle import Bundle

CPU = torch.device("cpu")
SESSION = "plain's session"
REST = 0.1
"""Seconds before each call: the threads of the session before it spin on for a while."""

FRAMES = 3
"""Scenes that are timed in turn."""

PARTS = {
    "encoder": "encoder",
    "segmenter.network.decoder.aspp.0": "ASPP",
    "segmenter.network": "decoder and head",
    "head": "decoder and head",
}
"""A part by the first of these that a node's module begins with."""

BEFORE, BEHIND = "frame to float", "upsampling and argmax"
"""The parts without a module."""

Way = Callable[[Image], Image]


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    students = [Student(run=run) for run in arguments.run] or [Student(), Student("segformer", "mit_b0")]
    height, width = arguments.size
    print(
        f"{describe(CPU)}, onnxruntime {onnxruntime.__version__}, OpenCV {cv2.__version__}, NumPy {np.__version__}; "
        f"{height}x{width}, medians of {arguments.repeats} in turns"
    )
    results: dict[str, Any] = {"size": arguments.size, "frame to mask": {}, "shares": {}}
    with tempfile.TemporaryDirectory() as name:
        files = {s: export_all(s, Path(name, str(i)), arguments.size) for i, s in enumerate(students)}
        for student, written in files.items():
            print(f"\n### Frame to mask: {student}\n")
            results["frame to mask"][str(student)] = frame_to_mask(student, written, arguments)
        print("\n### The tail alone\n")
        results["tail"] = tail(arguments)
        print("\n### Shares of fp32-cpu's time, %\n")
        results["shares"] = {
            str(student): shares(written["fp32-cpu"].path, arguments) for student, written in files.items()
        }
        parts = list(dict.fromkeys(part for row in results["shares"].values() for part in row))
        rows = [[s, *(f"{row.get(p, 0):.1f}" for p in parts)] for s, row in results["shares"].items()]
        print(table(["student", *parts], rows))
    for bundle in arguments.bundle:
        print(f"\n### {bundle}\n\n{ledger(Bundle.open(bundle))}")
    write_results(arguments.json, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", type=Path, nargs="+", action="extend", default=[], help="else random weights"
    )
    parser.add_argument("--size", type=size_of, default=(512, 1024), metavar="HxW", help="multiples of 32")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--repeats", type=positive, default=15)
    parser.add_argument("--bundle", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--json", type=Path, help="a file for every sample")
    parser.add_argument("--quick", action="store_true", help="a trial: 128x256, three repeats")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.size, arguments.repeats = (128, 256), 3
    return arguments


def size_of(text: str) -> tuple[int, int]:
    height, width = map(int, text.split("x"))
    return height, width


def frame_to_mask(
    student: Student, files: dict[str, Written], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Time every graph of a student in turns, and print the table."""
    options = session_options(arguments.threads)
    sessions = {name: open_session(written.path, options) for name, written in files.items()}
    segmenter, x = student.segmenter(), np.zeros((1, 3, *arguments.size), np.float32)
    norm = [(values.flatten() / 255).numpy() for values in (segmenter.mean, segmenter.std)]
    ways: dict[str, Way] = {
        PLAIN: partial(plain_way, sessions[PLAIN], resize_then_argmax, *norm),
        INSIDE: partial(plain_way, sessions[INSIDE], lambda logits: logits[0].argmax(axis=0), *norm),
        SESSION: lambda _: sessions[PLAIN].run(None, {"x": x})[0],
        **{name: partial(our_way, sessions[name]) for name in OURS},
    }
    frames = [draw_scene(0, number, arguments.size)[0] for number in range(FRAMES)]
    masks = {
        name: np.stack([way(frame) for frame in frames]) for name, way in ways.items() if name != SESSION
    }
    agreement = {name: 100 * float((mask == masks["fp32"]).mean()) for name, mask in masks.items()}
    samples: dict[str, list[float]] = defaultdict(list)
    for number in range(arguments.repeats):
        for name, way in ways.items():
            time.sleep(REST)
            samples[name].append(milliseconds(partial(way, frames[number % FRAMES]), CPU))
    middle = {name: median(times) for name, times in samples.items()}
    rows = []
    for name in ways:
        cells = [name, f"{middle[name]:.1f}", f"{middle[name] / middle[PLAIN]:.2f}"]
        rows.append(cells + (about(files[name], agreement[name]) if name in files else 5 * [""]))
    head = ("graph", "ms", "/ plain", "agreement, %", "nodes", "MB", "export s", "peak MB")
    print(table(head, rows), flush=True)
    return {
        "samples": samples,
        "agreement": agreement,
        "files": {n: vars(w) | {"path": None} for n, w in files.items()},
    }


def about(written: Written, agreement: float) -> list[str]:
    nodes, megabytes = len(onnx.load(written.path).graph.node), written.path.stat().st_size / 1e6
    return [
        f"{agreement:.3f}",
        str(nodes),
        f"{megabytes:.1f}",
        f"{written.seconds:.1f}",
        f"{written.peak / 1e6:.0f}",
    ]


def tail(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Check every form of the tail, time them in turns, and print the table."""
    height, width = (side // FACTOR for side in arguments.size)
    logits = np.random.default_rng(0).standard_normal((1, CLASSES, height, width), np.float32)
    forms = tails(CLASSES, session_options(arguments.threads))
    expected = reference(logits)
    agreement = {name: 100 * float((form(logits) == expected).mean()) for name, form in forms.items()}
    samples = interleaved(
        {name: partial(form, logits) for name, form in forms.items()}, arguments.repeats, CPU
    )
    middle = {name: median(times) for name, times in samples.items()}
    first = next(iter(middle.values()))
    rows = [(name, f"{ms:.1f}", f"{ms / first:.2f}", f"{agreement[name]:.4f}") for name, ms in middle.items()]
    print(table(("logits to mask", "ms", "/ first", "agreement with PyTorch, %"), rows), flush=True)
    return samples


def shares(file: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Percent of the time by part of the network, the order of the graph."""
    say("profile")
    options = session_options(threads=1)
    options.enable_profiling, options.profile_file_prefix = True, str(file.with_suffix(""))
    session = open_session(file, options)
    frame = draw_scene(0, 0, arguments.size)[0]
    for _ in range(arguments.repeats + 1):
        our_way(session, frame)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")].append(event["dur"])
    total: dict[str, float] = defaultdict(float)
    for (_, samples), part in zip(times.items(), parts_of(file, list(times)), strict=True):
        total[part] += median(samples[1:])
    return {part: 100 * value / sum(total.values()) for part, value in total.items()}


def parts_of(file: Path, names: list[str]) -> Iterator[str]:
    """The part of each node that ran; one that the runtime made itself goes with the one before it."""
    modules = {}
    for node in onnx.load(file).graph.node:
        notes = {entry.key: entry.value for entry in node.metadata_props}
        module = ast.literal_eval(notes["pkg.torch.onnx.name_scopes"])[-2]
        modules[node.name] = modules[f"{node.output[0]}_nchwc"] = (
            module  # in blocked layout: named after the output
        )
    part = BEFORE
    for name in names:
        module = modules.get(name)
        if module is not None:
            behind = BEFORE if part == BEFORE else BEHIND
            part = next((part for start, part in PARTS.items() if module.startswith(start)), behind)
        yield part


def ledger(bundle: Bundle) -> str:
    """What the bundle's export measured of each precision."""
    head = ("precision", "mIoU", "boundary IoU", "agreement with PyTorch, %", "frames")
    rows = []
    for entry in bundle.ledger():
        if "role" in entry:  # what PyTorch scored: nothing was compared
            continue
        candidate = entry["candidate"]
        scores = candidate["miou"], candidate["boundary_iou"], entry["pixel_agreement"]
        rows.append((candidate["precision"], *(f"{score:.2f}" for score in scores), str(entry["frames"])))
    return table(head, rows)


if __name__ == "__main__":
    main()
