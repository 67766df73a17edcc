"""Images a second that one process loads for training, with and without the cache of decoded frames.

    python benchmarks/loading.py ROOT [--images N] [--repeats R] [--json FILE]

ROOT is CamVid in the SegNet layout, or another folder of that layout. Each row is a loader without workers, so that
one core does all of it; all rows are measured in turn, round after round, over the same samples, with the files and
the cache in the page cache of the operating system.

frames: decoded frames as they go to a GPU, which augments them there; batches: augmented on the CPU, ready for the
network. "files" decodes, "cache" copies out of the map. The last row augments frames of 8x8, so that hardly anything
is left but the calls: what one process spends on a sample at least, wherever the pixels are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from timing import describe, interleaved, positive, table, write_results

from kd_deploy.config.data import CamVidData
from kd_deploy.config.schema import Train
from kd_deploy.data.camvid import CamVid
from kd_deploy.data.dataset import Dataset
from kd_deploy.data.decoded import decoded
from kd_deploy.data.stream import Stream, loader
from kd_deploy.runtime.frames import Frame

BATCH = 8
CROP = (352, 352)
"""As in the recipes for CamVid."""

HEAD = ("what", "from", "images/s", "x files")


class Tiny:
    """One frame of 8x8."""

    classes: tuple[str, ...] = ("road",)
    palette = np.zeros((1, 3), np.uint8)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Frame:
        return Frame("tiny", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))


def main() -> None:
    arguments = parse()
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        data = CamVidData(format="camvid", root=arguments.root)
        files = CamVid(data.root, "train")
        cached = decoded(files, data, "train", Path(folder), silent=False)
        height, width = files[0].image.shape[:2]
        sources: dict[str, Dataset] = {"files": files, "cache": cached}
        loads = {
            (what, source): load(dataset, CROP, arguments.images, raw=what == "frames")
            for what in ("frames", "batches")
            for source, dataset in sources.items()
        }
        loads["batches of 8x8", "memory"] = load(Tiny(), (8, 8), arguments.images, raw=False)
        named = {" ".join(key): work for key, work in loads.items()}
        interleaved(named, 1, cpu)  # fills the page cache
        samples = interleaved(named, arguments.repeats, cpu)
    speed = {key: 1000 * arguments.images / median(samples[" ".join(key)]) for key in loads}
    print(
        f"{describe(cpu)}; frames {height}x{width}, crops {CROP[0]}x{CROP[1]}, medians of {arguments.repeats}\n"
    )
    rows = [
        [
            what,
            source,
            f"{fast:.0f}",
            f"{fast / speed[what, 'files']:.1f}" if (what, "files") in speed else "",
        ]
        for (what, source), fast in speed.items()
    ]
    print(table(HEAD, rows))
    write_results(arguments.json, {"images": arguments.images, "milliseconds": samples})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("--images", type=positive, default=64, help=f"of a round, a multiple of {BATCH}")
    parser.add_argument("--repeats", type=positive, default=15)
    parser.add_argument("--json", type=Path, help="a file for every sample")
    arguments = parser.parse_args()
    if arguments.images % BATCH:
        parser.error(f"--images must be a multiple of {BATCH}, not {arguments.images}")
    return arguments


def load(dataset: Dataset, crop: tuple[int, int], images: int, *, raw: bool) -> Callable[[], object]:
    """A run over the first `images` samples, as training loads them; with `raw` they are not augmented."""
    train = Train(iterations=images // BATCH, batch_size=BATCH, crop=crop, workers=0)
    stream = Stream(dataset, train, raw=raw)
    return lambda: deque(loader(stream, train, start=0), maxlen=0)


if __name__ == "__main__":
    main()
