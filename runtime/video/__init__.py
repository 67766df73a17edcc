"""Video in and out: files, cameras, streams and pipelines as sources, files and a window as sinks, stages that overlap.

Small pieces that compose:

    with read_video(source) as video, write_video(target, video.info.fps) as sink, ahead(video) as frames:
        for frame in frames: sink.write(frame)
"""

from kd_deploy.runtime.video.open import open_video, read_video
from kd_deploy.runtime.video.opencv import quiet_opencv
from kd_deploy.runtime.video.pipeline import ahead, in_order
from kd_deploy.runtime.video.reader import DEFAULT_FPS, Video, VideoInfo
from kd_deploy.runtime.video.source import VIDEO_SUFFIXES, Source, parse_source
from kd_deploy.runtime.video.writer import CODECS, VideoWriter, write_video

__all__ = [
    "CODECS",
    "DEFAULT_FPS",
    "VIDEO_SUFFIXES",
    "Source",
    "Video",
    "VideoInfo",
    "VideoWriter",
    "ahead",
    "in_order",
    "open_video",
    "parse_source",
    "quiet_opencv",
    "read_video",
    "write_video",
]
