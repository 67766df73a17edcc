"""What a data set is, and how a recipe's `data` section becomes one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kd_deploy.config.data import CamVidData, Data
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame


class Dataset(Protocol):
    """Labelled frames by index; reading one is pure, so threads and workers may share it.

    Attributes:
        classes: class names by id.
        palette: (C, 3) uint8, RGB.
    """

    classes: tuple[str, ...]
    palette: NDArray[np.uint8]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...


def open_dataset(data: Data, split: str) -> Dataset:
    """The data set of a recipe's `data` section.

    Raises:
        UserError: the folder or the split is missing or empty, or a frame lacks its mask.
    """
    if isinstance(data, CamVidData):
        from kd_deploy.data.camvid import CamVid

        return CamVid(data.root, split, data.size)
    from kd_deploy.data.synthetic import Synthetic

    return Synthetic(data, split)


def frames(dataset: Dataset) -> Iterator[Frame]:
    """Every frame, in order, decoded ahead by a few threads."""
    ahead: deque[Future[Frame]] = deque()
    with ThreadPoolExecutor(2) as pool:
        for index in range(len(dataset)):
            ahead.append(pool.submit(dataset.__getitem__, index))
            if len(ahead) > 8:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def verify(dataset: Dataset) -> tuple[int, int]:
    """Read every frame once, so that a damaged file stops a run before its first batch.

    Returns:
        The height and width in pixels that all frames share.

    Raises:
        UserError: a frame or mask is damaged, or two frames differ in size.
    """
    size: tuple[int, int] | None = None
    for frame in frames(dataset):
        height, width = frame.image.shape[:2]
        size = size or (height, width)
        if size != (height, width):
            raise UserError(
                f"{frame.name}: is {height}x{width}, the frames before it are {size[0]}x{size[1]}; "
                "set data.size so that all are resized to one size"
            )
    if size is None:
        raise UserError("data: the split holds no frame")
    return size
