"""The runtime on this CPU: every backend and precision of a bundle against the plain way, and what is around them.

    kd-deploy export RUN -o BUNDLE --size 512x1024 --precision int8 --precision int8-cpu
    python benchmarks/runtime.py BUNDLE... [--threads N] [--repeats R] [--json FILE]

Frame to mask: `session` is a batch in and its masks out, `frame` a decoded frame in and its mask out, timed in turns on
the bundle's golden frames, which have the model's size; `frame of 1280x720` is of the same, brought to that size
before, so resizing is in it. plain: the bundle's own network as smp has it, by torch.onnx; NumPy normalises, logits at
stride 4 come out of ONNX Runtime as floats, OpenCV enlarges them and NumPy takes the argmax. The verdict is that of
`kd-deploy benchmark --fastest`: the golden frames by the bundle's own limits.

Video: a file of the golden frames in, its overlay out, against the session alone on as many threads. Overlay: drawn
onto 1280x720, against the frame to mask of such a frame. Start: `kd-deploy infer` as a process of its own, until the
mask of one picture is written.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from graphs import open_session, plain, plain_way, session_options, write_plain
from tails import resize_then_argmax
from timing import describe, interleaved, milliseconds, positive, say, table, write_results

from kd_deploy.runtime.benchmark.results import golden_frames
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.images import write_image
from kd_deploy.runtime.infer import infer
from kd_deploy.runtime.model import Model, open_model, precisions
from kd_deploy.runtime.overlay import Overlay
from kd_deploy.runtime.parity import judge_golden
from kd_deploy.runtime.segment import segment, to_size
from kd_deploy.runtime.video import write_video

CPU = torch.device("cpu")
BACKENDS = ("onnxruntime-cpu", "openvino")
CAMERA = (720, 1280)
"""Height and width of the frames that are not the model's."""
REST = 0.1
"""Seconds before each call: threads of the library before it spin on for a while."""

VIDEO_FRAMES, VIDEO_ROUNDS, STARTS = 40, 3, 7

Samples = dict[str, list[float]]


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    print(f"{describe(CPU)}; medians of {arguments.repeats} in turns, {arguments.threads} threads")
    results: dict[str, Any] = {}
    for path in arguments.bundle:
        bundle = Bundle.open(path)
        height, width = bundle.size
        network = bundle.manifest["network"]
        print(
            f"\n## {network['arch']} on {network['encoder']}, {height}x{width}, {len(bundle.classes)} classes\n"
        )
        results[str(path)] = {
            "frame to mask": frame_to_mask(bundle, arguments),
            "video": video(bundle),
            "overlay": overlay(bundle, arguments),
            "start": start(bundle),
        }
    write_results(arguments.json, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--repeats", type=positive, default=25)
    parser.add_argument("--json", type=Path, help="a file for every sample")
    return parser.parse_args()


def frame_to_mask(bundle: Bundle, arguments: argparse.Namespace) -> Samples:
    """Time plain, and every configuration at both boundaries, in turns; print the table."""
    frames, camera = golden_frames(bundle), golden_frames(bundle, CAMERA)
    with ExitStack() as stack:
        models = open_all(bundle, arguments.threads, stack)
        verdicts = {name: judge_golden(bundle, model) for name, model in models.items()}
        ways: dict[str, Callable[[Any], Any]] = {"plain": plain_frame(bundle, arguments.threads)}
        for name, model in models.items():
            ways[f"{name} session"] = partial(run_one, model)
            ways[f"{name} frame"] = ways[f"{name} camera"] = partial(segment, model)
        given = {name: camera if name.endswith(" camera") else frames for name in ways}
        samples: Samples = defaultdict(list)
        for number in range(arguments.repeats + 1):
            say(f"round {number} of {arguments.repeats}")
            for name, way in ways.items():
                time.sleep(REST)
                taken = milliseconds(partial(way, given[name][number % len(frames)]), CPU)
                samples[name] += [taken] if number else []  # the first warms up
    rows = [("plain", "", f"{median(samples['plain']):.1f}", "", "", "1.00", "", "")]
    for name in models:
        session, frame = samples[f"{name} session"], samples[f"{name} frame"]
        report = verdicts[name]
        rows.append(
            (
                name,
                f"{median(session):.1f}",
                f"{median(frame):.1f}",
                f"{ratio(frame, session):.3f}",
                f"{ratio(samples[f'{name} camera'], session):.3f}",
                f"{ratio(frame, samples['plain']):.2f}",
                f"{report.pixel_agreement:.3f}",
                report.verdict,
            )
        )
    head = (
        "", "session, ms", "frame, ms", "frame / session", "frame of 1280x720 / session", "frame / plain",
        "agreement, %", "golden frames",
    )  # fmt: skip
    print(table(head, rows), flush=True)
    return samples


def ratio(these: list[float], those: list[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(these, those, strict=True))


def open_all(bundle: Bundle, threads: int, stack: ExitStack) -> dict[str, Model]:
    """Every configuration that this machine runs, by name."""
    models = {}
    for backend in BACKENDS:
        try:
            for precision in precisions(backend, bundle):
                model = open_model(bundle, backend=backend, precision=precision, threads=threads)
                models[f"{backend} {precision}"] = stack.enter_context(model)
        except UserError as error:
            say(str(error))
    return models


def run_one(model: Model, frame: Any) -> Any:
    return model.run(frame[None])


def plain_frame(bundle: Bundle, threads: int) -> Callable[[Any], Any]:
    """The bundle's network as it is usually exported, with what is usually written around it."""
    from kd_deploy.export.torch_backend import TorchModel

    with open_model(bundle, backend="torch") as reference, tempfile.TemporaryDirectory() as folder:
        assert isinstance(reference, TorchModel)
        segmenter, file = reference._graph.segmenter, Path(folder, "plain.onnx")
        norm = [(values.flatten() / 255).numpy() for values in (segmenter.mean, segmenter.std)]
        write_plain(plain(segmenter.eval()), file, bundle.size, upsampled=False)
        return partial(plain_way, open_session(file, session_options(threads)), resize_then_argmax, *norm)


def video(bundle: Bundle) -> dict[str, list[float]]:
    """A file in and out by workers of one thread each, beside the session alone on as many threads."""
    fps: dict[str, list[float]] = defaultdict(list)
    frames = [frame for _, frame, _ in bundle.golden()]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = Path(folder, "street.mp4")
        with write_video(source, 25) as sink:
            for frame in islice(cycle(frames), VIDEO_FRAMES):
                sink.write(frame)
        one, other = (stack.enter_context(open_model(bundle, threads=1)) for _ in range(2))
        both = stack.enter_context(open_model(bundle, threads=2))
        for number in range(VIDEO_ROUNDS):
            say(f"video, round {number + 1} of {VIDEO_ROUNDS}")
            for name, models, alone in (("1 worker", [one], one), ("2 workers", [one, other], both)):
                fps[f"{name}: session alone"].append(session_fps(alone, frames))
                report = infer(
                    models,
                    source,
                    Path(folder, "out.mp4"),
                    class_names=bundle.classes,
                    palette=bundle.palette,
                )
                fps[f"{name}: video"].append(report.fps)
    rows = []
    for name in ("1 worker", "2 workers"):
        alone, whole = fps[f"{name}: session alone"], fps[f"{name}: video"]
        rows.append(
            (name, f"{median(alone):.2f}", f"{median(whole):.2f}", f"{100 * ratio(whole, alone):.0f} %")
        )
    head = ("onnxruntime-cpu fp32, one thread a worker", "session alone, fps", "video, fps", "share")
    print("\n" + table(head, rows), flush=True)
    return fps


def session_fps(model: Model, frames: list[Any]) -> float:
    begin = time.perf_counter()
    for frame in islice(cycle(frames), VIDEO_FRAMES // 2):
        model.run(frame[None])
    return VIDEO_FRAMES // 2 / (time.perf_counter() - begin)


def overlay(bundle: Bundle, arguments: argparse.Namespace) -> Samples:
    """Drawing against segmenting, of frames of 1280x720."""
    _, frame, _ = next(bundle.golden())
    frame = to_size(frame, CAMERA)
    painter = Overlay(bundle.classes, bundle.palette, CAMERA)
    with open_model(bundle, threads=arguments.threads) as model:
        mask = segment(model, frame)
        ways = {"frame": lambda: segment(model, frame), "overlay": lambda: painter.draw(frame, mask)}
        samples = interleaved(ways, arguments.repeats, CPU)
    share = 100 * ratio(samples["overlay"], samples["frame"])
    print(
        f"\noverlay at 1280x720: {median(samples['overlay']):.2f} ms, {share:.1f} % of frame to mask",
        flush=True,
    )
    return samples


def start(bundle: Bundle) -> list[float]:
    """Seconds from the command to the mask."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        image, mask = Path(folder, "street.png"), Path(folder, "mask.png")
        write_image(image, next(bundle.golden())[1])
        command = [
            sys.executable,
            "-m",
            "kd_deploy",
            "infer",
            str(bundle.path),
            str(image),
            "-o",
            str(mask),
            "--mask",
        ]
        for _ in range(STARTS):
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
            assert np.array(cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)).shape == bundle.size
    print(f"start to first mask: {median(seconds):.2f} s (median of {STARTS})", flush=True)
    return seconds


if __name__ == "__main__":
    main()
