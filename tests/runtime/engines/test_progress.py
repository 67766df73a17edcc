"""Nested phases as a percentage."""

from __future__ import annotations

from kd_deploy.runtime.engines.progress import Phases


def test_a_phase_inside_a_step_counts_as_part_of_it() -> None:
    said: list[int] = []
    phases = Phases(said.append)
    phases.start("build", None, 2)
    phases.step("build", 0)
    phases.start("tactics", "build", 4)
    for step in range(4):
        phases.step("tactics", step)
    phases.finish("tactics")
    phases.step("build", 1)
    phases.finish("build")
    assert said == [50, 62, 75, 87, 100]


def test_it_never_goes_back_and_never_above_the_whole() -> None:
    said: list[int] = []
    phases = Phases(said.append)
    for name in ("first", "second"):
        phases.start(name, None, 1)
        phases.step(name, 0)
        phases.step(name, 1)  # a step too many
        phases.finish(name)
    phases.step("unknown", 3)
    assert said == [100]
