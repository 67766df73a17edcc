"""What a data set is, and how a recipe's `data` section becomes one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kd_deploy.config.data import Data, SyntheticData
from kd_deploy.data.ade20k import Ade20k
from kd_deploy.data.camvid import CamVid
from kd_deploy.data.cityscapes import Cityscapes
from kd_deploy.data.coco_stuff import CocoStuff10k
from kd_deploy.data.folder import Folder
from kd_deploy.data.folders import FolderDataset
from kd_deploy.data.synthetic import Synthetic
from kd_deploy.data.voc import Voc
from kd_deploy.progress import Progress
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame

Item = TypeVar("Item")

READERS: dict[str, type[FolderDataset]] = {
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "voc": Voc,
    "ade20k": Ade20k,
    "coco_stuff10k": CocoStuff10k,
    "folder": Folder,
}
"""The data sets on disk, by the recipe's `data.format`."""

VERIFIED = 1000
"""Frames of a split that `verify` reads, at most."""


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
    if isinstance(data, SyntheticData):
        return Synthetic(data, split)
    return READERS[data.format](data.root, split, data.size, data.short_side)


def frames(dataset: Dataset, indices: Iterable[int] | None = None) -> Iterator[Frame]:
    """The frames of `indices`, or every frame, in order, decoded ahead by a few threads."""
    return read_ahead(dataset.__getitem__, range(len(dataset)) if indices is None else indices, threads=2)


def read_ahead(read: Callable[[int], Item], indices: Iterable[int], *, threads: int) -> Iterator[Item]:
    """`read` of every index, in order, a little ahead by threads."""
    ahead: deque[Future[Item]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for index in indices:
            ahead.append(pool.submit(read, index))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def verify(dataset: Dataset) -> tuple[int, int] | None:
    """Read the frames once, so that a damaged file stops a run before its first batch.

    Of a split of more than `VERIFIED` frames so many are read, evenly spread over it.

    Returns:
        The height and width in pixels that all frames read share, None where they differ.

    Raises:
        UserError: a frame or mask is damaged, or there is none.
    """
    whole = len(dataset)
    if not whole:
        raise UserError("data: the split holds no frame")
    count = min(whole, VERIFIED)
    indices = np.linspace(0, whole - 1, count).round().astype(int).tolist()
    title = f"check {count} frames" if count == whole else f"check {count} of {whole} frames"
    sizes = set()
    other_rank = int(os.environ.get("RANK", "0")) > 0  # torchrun's; one bar is enough
    with Progress(title, count, silent=other_rank) as progress:
        for number, frame in enumerate(frames(dataset, indices), start=1):
            height, width = frame.image.shape[:2]
            sizes.add((height, width))
            progress.advance(number)
    return sizes.pop() if len(sizes) == 1 else None
