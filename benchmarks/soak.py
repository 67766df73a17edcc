"""Memory over many frames of the video path: decode, segment, paint, encode; RSS at every 500 frames and its slope.

python benchmarks/soak.py BUNDLE [--frames N] [--size HxW] [--workers N] [--json FILE]

Linux. Each worker has one thread.
One long video of drawn, moving frames is made in a temporary folder and goes through `infer` as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import environment
from kd_deploy.runtime.files import write_json
from kd_deploy.runtime.infer import infer
from kd_deploy.runtime.model import open_model
from kd_deploy.runtime.video import write_video

EVERY = 500
WARM = 0.1
"""Share of the samples that the slope leaves out: buffers and arenas grow at first."""


def draw(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A picture that moves, so that frames differ and the codec has work."""
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    picture = cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    with write_video(path, 25) as sink:
        for number in range(frames):
            sink.write(np.roll(picture, 2 * number, axis=1))


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(samples: list[tuple[int, float]]) -> float:
    """MiB per 1000 frames, by least squares over all but the first samples."""
    frames, mib = np.array(samples[int(len(samples) * WARM) :]).T
    return float(np.polyfit(frames / 1000, mib, 1)[0])


def soak(bundle: Bundle, frames: int, size: tuple[int, int], workers: int, precision: str) -> dict[str, Any]:
    """One run: the samples, their slope and the run's own report."""
    samples: list[tuple[int, float]] = []

    def sample(done: int, total: int | None) -> None:
        if done % EVERY == 0:
            samples.append((done, round(resident_mib(), 2)))
            print(f"{done:>7} {samples[-1][1]:>9.2f} MiB", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        draw(folder / "long.mp4", frames, size)
        report = infer(
            [stack.enter_context(open_model(bundle, precision=precision, threads=1)) for _ in range(workers)],
            folder / "long.mp4",
            folder / "out.mp4",
            class_names=bundle.classes,
            palette=bundle.palette,
            progress=sample,
        )
    return {
        "environment": environment(),
        "every": EVERY,
        "samples_frames_mib": samples,
        "slope_mib_per_1000_frames": slope(samples),
        "report": report.to_json(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory over many frames of the video path.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", default="240x320")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    result = soak(
        Bundle.open(arguments.bundle),
        max(arguments.frames, 4 * EVERY),
        (height, width),
        arguments.workers,
        arguments.precision,
    )
    samples, report = result["samples_frames_mib"], result["report"]
    print("| frames | RSS, MiB |\n|---|---|")
    for frames, mib in samples[:: max(1, len(samples) // 10)]:
        print(f"| {frames} | {mib:.1f} |")
    mib = [value for _, value in samples[int(len(samples) * WARM) :]]
    print(
        f"\n{report['frames']} frames, {report['failed']} failed, {report['fps']:.1f} a second, "
        f"{report['workers']} workers; after the first tenth {min(mib):.1f} to {max(mib):.1f} MiB, "
        f"{result['slope_mib_per_1000_frames']:+.3f} MiB per 1000 frames"
    )
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
