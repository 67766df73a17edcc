"""Sources that do not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.video.live import LiveVideo
from tests.runtime.video.clips import Camera, grey

PATIENCE = 0.3


@contextmanager
def opened(camera: Camera, patience: float = 5.0) -> Iterator[LiveVideo]:
    video = LiveVideo("camera 0", camera, patience)
    try:
        yield video
    finally:
        assert video.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for the grabbing thread."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it never came")


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    camera = Camera(grey(1))
    with opened(camera) as video:
        shots = video.shots()
        assert next(shots).image.mean() == 1
        for level in (2, 3, 4):
            camera.waiting.put(grey(level))
        until(lambda: video.dropped == 2)
        assert next(shots).image.mean() == 4
        camera.waiting.put(grey(5))
        assert next(shots).image.mean() == 5
        assert (video.decoded, video.dropped) == (3, 2)
    assert (video.info.fps, video.info.frames, video.live, video.failed) == (25, None, True, 0)


def test_a_source_that_falls_silent_ends_with_a_line() -> None:
    with opened(Camera(grey(1), grey(2), None), PATIENCE) as video:
        assert len(list(video)) in (1, 2)
    assert video.decoded + video.dropped == 2
    assert video.ended == "camera 0: gave no frame for 0.3 s: ended"


def test_a_driver_that_hangs_ends_too() -> None:
    camera = Camera(grey(1))
    hang = threading.Event()
    video = LiveVideo("camera 0", camera, PATIENCE)
    camera.read = lambda: (hang.wait(10), None)  # type: ignore[assignment,method-assign]
    assert len(list(video)) == 1
    assert video.ended is not None
    hang.set()
    assert video.close()


def test_a_source_that_never_gives_a_frame_is_one_line() -> None:
    with (
        pytest.raises(UserError, match=r"camera 0: gave no frame for 0\.3 s; check"),
        opened(Camera(), PATIENCE),
    ):
        pass


def test_a_read_that_fails_and_goes_on_is_counted() -> None:
    camera = Camera(grey(1), None, None)
    with opened(camera) as video:
        shots = video.shots()
        next(shots)
        camera.waiting.put(grey(2))
        assert next(shots).image.mean() == 2
        assert video.corrupt == 1


def test_another_size_and_grey_become_what_the_first_frame_was() -> None:
    camera = Camera(grey(1))
    with opened(camera) as video:
        shots = video.shots()
        next(shots)
        for frame in (grey(2, (32, 48)), grey(3)[..., 0]):
            camera.waiting.put(frame)
            assert next(shots).image.shape == (64, 96, 3)


def test_stop_ends_it_while_it_waits_and_no_thread_is_left() -> None:
    threads = threading.active_count()
    with opened(Camera(grey(1))) as video:
        shots = video.shots()
        next(shots)
        threading.Timer(0.05, video.stop).start()
        assert list(shots) == []
    assert video.ended is None
    until(lambda: threading.active_count() == threads)


def test_what_the_driver_raises_comes_out_where_the_frames_do() -> None:
    with (
        opened(Camera(grey(1), RuntimeError("driver"))) as video,
        pytest.raises(RuntimeError, match="driver"),
    ):
        list(video)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows has no pthread_kill")
def test_ctrl_c_while_it_closes_still_waits_for_the_driver() -> None:
    main, held = threading.main_thread().ident, threading.Event()
    assert main is not None
    camera = Camera(grey(1))
    video = LiveVideo("camera 0", camera)
    reading = threading.Event()

    def read() -> tuple[bool, None]:
        reading.set()
        held.wait(10)
        return False, None

    camera.read = read  # type: ignore[method-assign]
    assert reading.wait(5)
    for seconds in (0.1, 0.2):
        threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT)).start()
    threading.Timer(0.4, held.set).start()
    try:
        assert video.close()
    except KeyboardInterrupt:
        pytest.fail("Ctrl-C broke the wait")
    assert held.is_set()
