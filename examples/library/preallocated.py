"""A loop in which no call allocates: frames of the model's own size in, masks into one array.

python examples/library/preallocated.py BUNDLE FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from kd_deploy.runtime import UserError, open_model, read_image
from kd_deploy.runtime.segment import to_size

BATCH = 4


def main(bundle: str, folder: str) -> None:
    files = sorted(Path(folder).glob("*.png"))
    with open_model(bundle) as model:
        assert model.size is not None, "the bundle has one size"
        frames = np.empty((BATCH, *model.size, 3), np.uint8)
        masks = np.empty((BATCH, *model.size), np.uint8)
        for first in range(0, len(files), BATCH):
            part = files[first : first + BATCH]
            for place, file in zip(frames, part, strict=False):  # the last part may be smaller
                place[:] = to_size(read_image(file), model.size)
            start = time.perf_counter()
            model.run(frames[: len(part)], masks[: len(part)])
            spent = 1000 * (time.perf_counter() - start)
            print(
                f"{len(part)} frames in {spent:.1f} ms, most frequent class {np.bincount(masks[0].ravel()).argmax()}"
            )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
