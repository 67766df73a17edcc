"""TensorBoard's file: on disk at once, and an earlier sitting's steps do not show twice."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kd_deploy.training.events import Events


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    read = EventAccumulator(str(folder))
    read.Reload()
    return [(event.step, event.value) for event in read.Scalars(tag)]


def test_a_scalar_can_be_read_at_once(tmp_path: Path) -> None:
    events = Events(tmp_path, 1)
    events.add(1, {"loss": 0.5, "lr": 0.25})
    assert scalars(tmp_path, "loss") == [(1, 0.5)]  # nothing was closed: a kill may come
    assert scalars(tmp_path, "lr") == [(1, 0.25)]
    events.close()


def test_a_later_sitting_replaces_the_steps_that_it_repeats(tmp_path: Path) -> None:
    for sitting in range(5):  # within one second
        events = Events(tmp_path, 1 + sitting)
        for step in (1 + sitting, 2 + sitting, 3 + sitting):
            events.add(step, {"loss": 10.0 * sitting})
        events.close()
    assert scalars(tmp_path, "loss") == [(1, 0), (2, 10), (3, 20), (4, 30), (5, 40), (6, 40), (7, 40)]


def test_a_record_that_was_cut_off_hides_nothing_else(tmp_path: Path) -> None:
    events = Events(tmp_path, 1)
    events.add(1, {"loss": 1.0})
    events.add(2, {"loss": 2.0})
    events.close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    again = Events(tmp_path, 2)
    again.add(2, {"loss": 3.0})
    again.close()
    assert scalars(tmp_path, "loss") == [(1, 1), (2, 3)]
