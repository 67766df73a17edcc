"""TensorBoard's event file, written at once: a killed run has every number that it logged."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]


class Events:
    """One sitting's scalars.

    torch's SummaryWriter keeps them for up to two minutes, which a kill loses, and writes in a thread of its own,
    which a full disk ends with a traceback.
    """

    def __init__(self, folder: Path, first: int) -> None:
        """Begin a file in `folder`; readers drop what earlier files say of the step `first` and later ones.

        Raises:
            OSError: the disk refuses, here as in `add`.
        """
        # Readers take the files in the order of their names: two sittings may begin within one second.
        name = f"events.out.tfevents.{time.time():020.9f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Write the scalars of a step, by tag."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        with suppress(OSError):  # of what `add` could not write
            self._file.close()
