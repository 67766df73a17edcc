"""What a source's name means: a file, a camera, a stream's address or a GStreamer pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kd_deploy.runtime.errors import MissingComponentError, UserError
from kd_deploy.runtime.files import exists
from kd_deploy.runtime.video.opencv import has_gstreamer

Kind = Literal["path", "camera", "url", "pipeline"]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts")
SCHEMES = ("rtsp", "rtsps", "rtspt", "http", "https")

NO_GSTREAMER = (
    "this OpenCV has no GStreamer (pip's never has); take the system's: sudo apt install python3-opencv, in a "
    "virtual environment made with --system-site-packages and without pip's opencv-python"
)
APPSINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"


@dataclass(frozen=True)
class Source:
    """A source and how it is opened.

    Attributes:
        kind: what opens it.
        target: what OpenCV is given: a path, a camera's number or device, an address, a pipeline. It may hold a
            password: only `name` is for messages and reports.
        name: the source as the user wrote it, without its password.
        note: a line for the user where something else is opened than what was asked for.
    """

    kind: Kind
    target: str
    name: str
    note: str | None = None

    @property
    def finite(self) -> bool:
        """Whether it surely has an end, so that nothing of it may be dropped."""
        return self.kind == "path" or (self.kind == "pipeline" and _element(self.target) == "filesrc")

    @property
    def is_video(self) -> bool:
        """Whether it is no path, or a path that is called as a video is and no folder."""
        path = Path(self.target)
        return self.kind != "path" or (path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir())


def parse_source(text: str) -> Source:
    """Tell a camera (`0`, `/dev/video1`), an address (rtsp, http), a pipeline (`a ! b`) and a path apart.

    What lies on the disk under that name is a path, unless it is called as a camera is: a file `0` is given as `./0`.
    Without GStreamer a pipeline that starts at a file, an RTSP address or a V4L2 camera falls back to that, with a
    `note`.

    Raises:
        UserError: nothing at all, an address of an unknown scheme, or a pipeline without an appsink.
        MissingComponentError: a pipeline that needs GStreamer, which this OpenCV lacks.
    """
    name = mask_passwords(text)
    if not text:
        raise UserError("SOURCE: is empty; name a file, a folder, a camera, an address or a pipeline")
    if re.fullmatch(r"[0-9]{1,3}|/dev/video[0-9]+", text):
        return Source("camera", text, f"camera {text}")
    if exists(text):
        return Source("path", text, text)
    if " ! " in text:
        return _pipeline(text, name)
    scheme, address, rest = text.partition("://")
    if not address:
        return Source("path", text, text)
    if scheme.lower() not in SCHEMES:
        raise UserError(f"{name}: no scheme that is known; write one of {', '.join(SCHEMES)}")
    if scheme.lower() == "rtspt":  # GStreamer's name for RTSP over TCP, which ours always is
        text = f"rtsp://{rest}"
    return Source("url", text, name)


def mask_passwords(text: str) -> str:
    """`text` with *** in place of the user and password of every address, and of every value called a password."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(?i)\b(user-pw|pass(?:word|wd)?|pwd|token)=[^\s&]+", r"\1=***", text)


def _pipeline(text: str, name: str) -> Source:
    if not has_gstreamer():
        return _fallback(text, name)
    if "appsink" not in text:
        raise UserError(f"{name}: a pipeline must end in an appsink; end it in: {APPSINK}")
    return Source("pipeline", text, name)


def _fallback(text: str, name: str) -> Source:
    """The file, address or camera that a pipeline starts at."""
    head = text.partition(" ! ")[0]
    element, place = _element(text), _property(head, "location")
    if element == "filesrc" and place:
        source = Source("path", place, place)
    elif element == "rtspsrc" and place:
        source = parse_source(place)
    elif element == "v4l2src":
        source = parse_source(_property(head, "device") or "/dev/video0")
    else:
        raise MissingComponentError(f"{name}: {NO_GSTREAMER}")
    note = f"{source.name}: opened without the rest of the pipeline, because {NO_GSTREAMER}"
    return Source(source.kind, source.target, source.name, note)


def _element(pipeline: str) -> str:
    return pipeline.split(maxsplit=1)[0]


def _property(element: str, key: str) -> str | None:
    found = re.search(rf"""\b{key}\s*=\s*("[^"]+"|'[^']+'|\S+)""", element)
    return found[1].strip("\"'") if found else None
