"""Cost of a frame in each codec that OpenCV opens here, file closed included; medians of interleaved repeats.

python benchmarks/video_codecs.py [--size HxW] [--frames N] [--repeats R]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.data.scenes import draw_drive
from kd_deploy.runtime.environment import cores, cpu_name

CODECS = (("mp4v", ".mp4"), ("VP80", ".webm"), ("VP90", ".webm"), ("avc1", ".mp4"), ("av01", ".mp4"))


def milliseconds(frames: list[NDArray[np.uint8]], codec: str, path: Path) -> float | None:
    """Per frame, from opening to release (`write` only queues some codecs' frames); None if it does not open."""
    height, width = frames[0].shape[:2]
    start = time.perf_counter()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (width, height))
    if not writer.isOpened():
        return None
    for frame in frames:
        writer.write(frame)
    writer.release()
    return (time.perf_counter() - start) * 1000 / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a frame in each codec that OpenCV opens here.")
    parser.add_argument("--size", default="360x480")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    frames = [image for image, _ in draw_drive(0, arguments.frames, (height, width))]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.repeats):
            for codec, suffix in CODECS:
                spent = milliseconds(frames, codec, Path(folder) / f"video{suffix}")
                if spent is not None:
                    times.setdefault(codec, []).append(spent)
    print(
        f"{cpu_name()}, {cores()} cores, OpenCV {cv2.__version__}, {arguments.frames} frames of {arguments.size}"
    )
    for codec, _ in CODECS:
        spent = times.get(codec)
        print(
            f"{codec}: "
            + ("does not open" if spent is None else f"{statistics.median(spent):.1f} ms a frame")
        )


if __name__ == "__main__":
    main()
