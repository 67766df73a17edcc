"""Memory over many frames of the video path: decode, segment, paint, encode; RSS at every 500 frames and its slope.

    python benchmarks/soak.py BUNDLE [--frames N] [--size HxW] [--workers N] [--live RATE] [--json FILE]

Linux. Each worker has one thread.
One long video of drawn, moving frames is made in a temporary folder and goes through `infer` as it is. With --live
they come as JPEG pictures over HTTP, as of a network camera, RATE a second from a process of its own, until so many
have been segmented.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from multiprocessing.connection import Connection
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


def moving(size: tuple[int, int]) -> Iterator[Any]:
    """A picture that moves, so that frames differ and the codec has work."""
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    picture = cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return (np.roll(picture, 2 * number, axis=1) for number in count())


def draw(path: Path, frames: int, size: tuple[int, int]) -> None:
    with write_video(path, 25) as sink:
        for _, frame in zip(range(frames), moving(size), strict=False):
            sink.write(frame)


def serve(port: Connection, size: tuple[int, int], rate: float) -> None:
    """Send JPEG pictures without an end to whoever asks, and say on which port."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            began = time.perf_counter()
            with suppress(ConnectionError):
                for number, frame in enumerate(moving(size)):
                    jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                    self.wfile.write(head % len(jpeg) + jpeg + b"\r\n")
                    time.sleep(max(0.0, began + number / rate - time.perf_counter()))

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Camera)
    port.send(server.server_port)
    server.serve_forever()


@contextmanager
def camera(size: tuple[int, int], rate: float) -> Iterator[str]:
    """The address of such a server, in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, size, rate), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/"
    finally:
        process.kill()
        process.join()


def resident_mib() -> float:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(samples: list[tuple[int, float]]) -> float:
    """MiB per 1000 frames, by least squares over all but the first samples."""
    frames, mib = np.array(samples[int(len(samples) * WARM) :]).T
    return float(np.polyfit(frames / 1000, mib, 1)[0])


def soak(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Any]:
    """One run: the samples, their slope and the run's own report."""
    height, width = map(int, arguments.size.split("x"))
    frames = max(arguments.frames, 4 * EVERY)
    samples: list[tuple[int, float]] = []

    def sample(done: int, total: int | None) -> None:
        if done % EVERY == 0:
            samples.append((done, round(resident_mib(), 2)))
            print(f"{done:>7} {samples[-1][1]:>9.2f} MiB", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.live:
            source: Path | str = stack.enter_context(camera((height, width), arguments.live))
        else:
            source = folder / "long.mp4"
            draw(source, frames, (height, width))
        models = [
            stack.enter_context(open_model(bundle, precision=arguments.precision, threads=1))
            for _ in range(arguments.workers)
        ]
        report = infer(
            models,
            source,
            folder / "out.mp4",
            class_names=bundle.classes,
            palette=bundle.palette,
            frames=frames,
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", default="240x320")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--live", type=float, metavar="RATE", help="frames a second of a network camera")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = soak(Bundle.open(arguments.bundle), arguments)
    samples, report = result["samples_frames_mib"], result["report"]
    print("| frames | RSS, MiB |\n|---|---|")
    for frames, mib in samples[:: max(1, len(samples) // 10)]:
        print(f"| {frames:,} | {mib:.2f} |")
    mib = [value for _, value in samples[int(len(samples) * WARM) :]]
    live = f"{report['dropped']} dropped, {report['corrupt']} corrupt, " if report["live"] else ""
    print(
        f"\n{report['frames']} frames, {report['failed']} failed, {live}{report['fps']:.1f} a second, "
        f"{report['workers']} workers; after the first tenth {min(mib):.2f} to {max(mib):.2f} MiB, "
        f"{result['slope_mib_per_1000_frames']:+.3f} MiB per 1000 frames"
    )
    if arguments.json:
        write_json(arguments.json, result)


if __name__ == "__main__":
    main()
