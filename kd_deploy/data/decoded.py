"""Decoded frames of a split in one file that all processes map: reading a frame decodes and copies nothing."""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd_deploy.config.data import FilesData
from kd_deploy.data.dataset import VERIFIED, read_ahead
from kd_deploy.data.folders import FolderDataset
from kd_deploy.progress import Progress
from kd_deploy.runtime.environment import cores
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import atomic_file, remove_temporaries
from kd_deploy.runtime.frames import Frame

VERSION = 1
"""Of the file and of what the readers make of theirs: raise it where a frame or a label comes out otherwise."""

_ABANDONED = 3600.0
"""Seconds after which a file half written is a killed process's."""

_ROW = np.dtype([("height", "<u4"), ("width", "<u4"), ("crc", "<u4")])


def decoded(dataset: FolderDataset, data: FilesData, split: str, folder: Path, *, silent: bool) -> Decoded:
    """The data set from its file in `folder`, which is written first where it is missing or damaged.

    The file's name depends on all that decides its content, the frames' sizes in bytes and times of change
    among it. Processes that write it at the same time each write the whole of it, and one of them stays.

    Raises:
        UserError: a frame is damaged, `folder` cannot be written, or the disk is full.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"data.cache: {folder} is a file; name a folder")
    remove_temporaries(folder, older_than=_ABANDONED)
    file = folder / f"{data.format}-{split}-{_key(dataset, data, split)}.raw"
    with suppress(OSError, ValueError):
        return Decoded(file, dataset)
    _write(file, dataset, silent=silent)
    return Decoded(file, dataset)


class Decoded:
    """A data set whose frames lie one after the other in a file: each picture (H, W, 3) BGR, then its label (H, W).

    The file ends with a row for each frame: height, width and CRC-32. Frames are read-only views of the file.
    """

    def __init__(self, file: Path, dataset: FolderDataset) -> None:
        """Map the file that was written of `dataset`; of a large one the checksums of some frames are compared.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        self.classes, self.palette = dataset.classes, dataset.palette
        self._names = [str(frame) for frame, _ in dataset.listing.pairs]
        self._file = file
        count = len(self._names)
        rows = np.frombuffer(self._bytes[-count * _ROW.itemsize :].tobytes(), _ROW)
        if len(rows) != count:
            raise ValueError("shorter than its rows")
        self._shapes = np.stack([rows["height"], rows["width"]], axis=1).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(4 * self._shapes.prod(axis=1))])
        if self._starts[-1] + rows.nbytes != len(self._bytes):
            raise ValueError("not as long as its rows say")
        for index in np.linspace(0, count - 1, min(count, VERIFIED)).round().astype(int):
            if zlib.crc32(self._of(index).data) != rows["crc"][index]:
                raise ValueError("a checksum differs")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Frame:
        height, width = self._shapes[index]
        content, picture = self._of(index), 3 * height * width
        image, label = content[:picture].reshape(height, width, 3), content[picture:].reshape(height, width)
        return Frame(self._names[index], image, label)

    def _of(self, index: int) -> NDArray[np.uint8]:
        return self._bytes[self._starts[index] : self._starts[index + 1]]

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.asarray(np.memmap(self._file, np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, Any]:
        """Without the map, which a loader's worker that is not forked opens anew instead of being sent its bytes."""
        return {name: value for name, value in self.__dict__.items() if name != "_bytes"}


def _write(file: Path, dataset: FolderDataset, *, silent: bool) -> None:
    rows = np.empty(len(dataset), _ROW)
    # Written and not mapped: through a map a full disk would kill the process.
    with (
        atomic_file(file, durable=True) as temporary,
        temporary.open("wb") as output,
        Progress(f"decode {len(dataset)} frames", len(dataset), silent=silent) as progress,
    ):
        frames = read_ahead(dataset.__getitem__, range(len(dataset)), threads=cores())
        for index, frame in enumerate(frames):
            if frame.label is None:
                raise ValueError(f"{frame.name}: training needs a label")
            content = frame.image.tobytes() + frame.label.tobytes()
            rows[index] = (*frame.label.shape, zlib.crc32(content))
            output.write(content)
            progress.advance(index + 1)
        output.write(rows.tobytes())


def _key(dataset: FolderDataset, data: FilesData, split: str) -> str:
    """What decides the content of a file, as 16 hexadecimal digits."""
    files = [_state(path) for pair in dataset.listing.pairs for path in pair]
    labels, unknown = dataset.ids.to_classes(np.arange(1 << 16, dtype=np.uint16))
    mapping = [dataset.classes, labels.tolist(), sorted(unknown)]
    section = data.model_dump(mode="json", exclude={"root", "cache"})
    facts = [VERSION, cv2.__version__, section, split, mapping, files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _state(path: Path) -> tuple[str, int, int]:
    """What differs once the file has changed."""
    state = path.stat()
    return str(path.absolute()), state.st_size, state.st_mtime_ns
