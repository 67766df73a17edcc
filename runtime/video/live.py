"""Frames of a source that does not wait: a thread grabs them all, and whoever is ready takes the newest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.segment import to_size
from kd_deploy.runtime.video.pipeline import wait_past_interrupts
from kd_deploy.runtime.video.reader import Image, Shot, VideoInfo, as_bgr, describe

PATIENCE = 5.0
"""Seconds without a frame after which a live source has ended."""

_PAUSE = 0.01
"""Seconds between two reads that fail."""


class LiveVideo:
    """An opened live source: iterate over it once for the newest frame each time, (H, W, 3) uint8 BGR.

    A frame that nobody took before the next came is dropped and counted. A source that changes its size on the way
    (RTSP may) is resized to its first frame's.

    Args:
        name: of the source, without a password.
        capture: a `cv2.VideoCapture`, or what has its `read` and `get`; its `read` is called from one thread only.
        patience: seconds without a frame after which it has ended.

    Attributes:
        info: its size and frame rate; no length.
        decoded: how many frames were taken so far.
        dropped: how many were not.
        corrupt: how often reading failed and went on.
        ended: why there are no more frames, None before.
        live: always True.
        failed, shorter: always 0: a live source announces nothing.

    Raises:
        UserError: no first frame within `patience`, or one that is not BGR.
    """

    live = True
    failed = shorter = 0

    def __init__(self, name: str, capture: Any, patience: float = PATIENCE) -> None:
        self.decoded = self.dropped = self.corrupt = 0
        self.ended: str | None = None
        self._name, self._capture, self._patience = name, capture, patience
        self._changed = threading.Condition()
        self._stopped = False
        self._grabbed = threading.Event()
        self._newest: Shot | None = None
        self._error: BaseException | None = None
        first = self._read()
        if first is None:
            raise UserError(
                f"{name}: gave no frame for {patience:g} s; check that it is on and that nobody holds it"
            )
        info = describe(capture, first.image)
        self.info = VideoInfo(info.width, info.height, info.fps, None)
        self._newest = first
        # A daemon, because a driver that hangs in `read` must not keep the process.
        self._thread = threading.Thread(target=self._grab, name=f"grab {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Image]:
        return (shot.image for shot in self.shots())

    def shots(self) -> Iterator[Shot]:
        """The newest frame each time it is asked; ends with the source, or after `stop`."""
        while (shot := self._take()) is not None:
            self.decoded += 1
            yield shot
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Let `shots` end now, wherever it waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> bool:
        """Stop grabbing, past every further Ctrl-C; whether it ended, so that the capture may be released."""
        self.stop()
        return wait_past_interrupts(self._grabbed, self._patience + 1)

    def _take(self) -> Shot | None:
        with self._changed:
            there = self._changed.wait_for(
                lambda: self._newest is not None or self._stopped or self.ended is not None,
                timeout=2 * self._patience,  # where the driver hangs
            )
            if not there:
                self._end()
            shot, self._newest = self._newest, None
            return None if self._stopped else shot

    def _grab(self) -> None:
        try:
            while not self._stopped and (shot := self._read()) is not None:
                with self._changed:
                    if self._newest is not None:
                        self.dropped += 1
                    self._newest = shot
                    self._changed.notify_all()
        except BaseException as error:  # comes out where the frames do
            self._error = error
        finally:
            with self._changed:
                self._end()
                self._changed.notify_all()
            self._grabbed.set()

    def _end(self) -> None:
        """Say why there are no more frames, unless it was asked for."""
        if not self._stopped:
            self.ended = self.ended or f"{self._name}: gave no frame for {self._patience:g} s: ended"

    def _read(self) -> Shot | None:
        """The next frame, past reads that fail; None after `patience` or when stopped."""
        began, failed = perf_counter(), False
        while not self._stopped and perf_counter() - began < self._patience:
            there, image = self._capture.read()
            if there:
                self.corrupt += failed
                return Shot(self._as_first(image), perf_counter())
            failed = True
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, timeout=_PAUSE)
        return None

    def _as_first(self, image: Any) -> Image:
        image = as_bgr(image, self._capture, self._name)
        return to_size(image, (self.info.height, self.info.width)) if hasattr(self, "info") else image
