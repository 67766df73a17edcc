"""Several models in threads of one process: each thread opens its own, on one processor thread.

python examples/library/threads.py BUNDLE FOLDER OUT
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kd_deploy.runtime import Bundle, Model, UserError, open_model, read_image, write_image
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.segment import segment


def main(folder: str, source: str, target: str) -> None:
    bundle = Bundle.open(Path(folder))  # verified once, for all models
    own = threading.local()
    opened: list[Model] = []

    def start() -> None:
        own.model = open_model(bundle, threads=1)
        opened.append(own.model)

    def work(file: Path) -> None:
        write_image(Path(target) / f"{file.stem}.png", segment(own.model, read_image(file)))

    files = sorted(Path(source).glob("*.png"))
    try:
        with ThreadPoolExecutor(cores(), initializer=start) as pool:
            list(pool.map(work, files))  # `list` raises what a thread raised
    finally:
        for model in opened:
            model.close()
    print(f"{len(files)} masks by {len(opened)} models")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
