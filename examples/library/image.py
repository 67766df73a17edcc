"""One picture: its mask, what share each class has of it, and the overlay.

python examples/library/image.py BUNDLE street.jpg overlay.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kd_deploy.runtime import Bundle, Overlay, UserError, open_model, read_image, write_image
from kd_deploy.runtime.segment import segment


def main(folder: str, picture: str, drawn: str) -> None:
    bundle = Bundle.open(Path(folder))
    image = read_image(picture)  # (H, W, 3) uint8, BGR
    with open_model(bundle) as model:
        mask = segment(model, image)  # (H, W) uint8, class ids
    for class_id, count in zip(*np.unique(mask, return_counts=True), strict=True):
        print(f"{bundle.classes[class_id]:20}{100 * count / mask.size:6.1f} %")
    overlay = Overlay(bundle.classes, bundle.palette, image.shape[:2])
    write_image(Path(drawn), overlay.draw(image, mask))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
