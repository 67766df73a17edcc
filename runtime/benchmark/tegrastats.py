"""A Jetson's power and clocks while something is timed, as its own tegrastats says; nothing is ever changed.

The lines are those of JetPack 5 to 7 (Jetson Linux Developer Guide, "Tegrastats Utility"). Their form was tested, on no
Jetson.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

INTERVAL_MS = 100

TOTALS = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""Rails that make up all that is drawn: the input of an Orin Nano or NX, of a Thor, and the parts of an AGX Orin,
which has no meter at its input. The other rails are parts of these."""

_RAIL = re.compile(r"\b(\w+) (-?\d+)mW\b(?:/-?\d+mW)*")
_TEMPERATURE = re.compile(r"\b(\w+)@(-?[\d.]+)C\b")
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?(\d+))?")
_CPU = re.compile(r"\bCPU \[([^]]*)\]")
_RAM = re.compile(r"\bRAM (\d+)/\d+MB\b")

_OFF = -200.0
"""Degrees Celsius; a sensor of a part without power says -256."""

Span = tuple[int, int]
"""From and to, in time.perf_counter_ns."""


@dataclass(frozen=True)
class Reading:
    """One line.

    Attributes:
        rails_mw: milliwatts of each rail at that moment.
        gpu_percent, gpu_mhz: load and clock of the GPU; None where the line lacks them (a clock needs root, a Thor
            gives no load).
        cpu_mhz: clock of each core that is on.
        hottest_c: of the junction or, where it is not given, of the warmest sensor.
        ram_mb: memory in use by all processes.
    """

    rails_mw: dict[str, int]
    gpu_percent: int | None
    gpu_mhz: int | None
    cpu_mhz: tuple[int, ...]
    hottest_c: float | None
    ram_mb: int | None


@dataclass(frozen=True)
class Power:
    """What a Jetson drew while one model ran.

    Attributes:
        readings: lines that this is made of.
        total_mw: mean of all that was drawn; None where the board has no rails that make it up.
        total_of: the rails that were added up for it.
        rails_mw: mean of each rail.
        gpu_percent: mean load.
        gpu_mhz, cpu_mhz: lowest and highest clock; None where it was not given.
        hottest_c: highest temperature.
        ram_mb: most memory in use, by all processes.
    """

    readings: int
    total_mw: float | None
    total_of: tuple[str, ...]
    rails_mw: dict[str, float]
    gpu_percent: float | None
    gpu_mhz: tuple[int, int] | None
    cpu_mhz: tuple[int, int] | None
    hottest_c: float | None
    ram_mb: int | None


def parse(line: str) -> Reading:
    """Read one line; what it does not hold is None or empty."""
    gpu, cpus, ram = _GPU.search(line), _CPU.search(line), _RAM.search(line)
    degrees = {name.lower(): float(value) for name, value in _TEMPERATURE.findall(line)}
    warm = [value for value in degrees.values() if value > _OFF]
    return Reading(
        rails_mw={name: int(value) for name, value in _RAIL.findall(line) if name != "NC"},
        gpu_percent=int(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=int(gpu[2]) if gpu and gpu[2] else None,
        cpu_mhz=tuple(int(clock) for clock in re.findall(r"%@(\d+)", cpus[1])) if cpus else (),
        hottest_c=degrees.get("tj", max(warm, default=None)),
        ram_mb=int(ram[1]) if ram else None,
    )


def summarise(readings: Sequence[Reading]) -> Power | None:
    """What the readings of one model say together; None without any."""
    if not readings:
        return None
    names = [name for name in readings[0].rails_mw if all(name in reading.rails_mw for reading in readings)]
    rails = {name: _mean([reading.rails_mw[name] for reading in readings]) for name in names}
    total_of = next((total for total in TOTALS if all(name in rails for name in total)), ())
    loads = [reading.gpu_percent for reading in readings if reading.gpu_percent is not None]
    return Power(
        readings=len(readings),
        total_mw=sum(rails[name] for name in total_of) if total_of else None,
        total_of=total_of,
        rails_mw=rails,
        gpu_percent=_mean(loads) if loads else None,
        gpu_mhz=_range([r.gpu_mhz for r in readings if r.gpu_mhz is not None]),
        cpu_mhz=_range([clock for r in readings for clock in r.cpu_mhz]),
        hottest_c=max((r.hottest_c for r in readings if r.hottest_c is not None), default=None),
        ram_mb=max((r.ram_mb for r in readings if r.ram_mb is not None), default=None),
    )


class Watch:
    """The readings of a tegrastats that runs meanwhile; none at all where there is no such program."""

    def __init__(self) -> None:
        self._readings: list[tuple[int, Reading]] = []

    def read(self, lines: IO[str]) -> None:
        """Take every line as it comes."""
        for line in lines:
            self._readings.append((time.perf_counter_ns(), parse(line)))

    def during(self, spans: Sequence[Span]) -> Power | None:
        """What was drawn in some spans of time; None where nothing was read in them.

        A line tells of the interval before it, so one that comes sooner after a span's begin is not of this span.
        """
        settle = INTERVAL_MS * 1_000_000
        return summarise(
            [
                reading
                for at, reading in list(self._readings)
                if any(begin + settle <= at <= end for begin, end in spans)
            ]
        )


@contextmanager
def watch() -> Iterator[Watch]:
    """Run tegrastats, where the system has it, as long as the context lasts."""
    watched = Watch()
    program = shutil.which("tegrastats")
    if program is None:
        yield watched
        return
    command = [program, "--interval", str(INTERVAL_MS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        reader = threading.Thread(target=watched.read, args=(child.stdout,), daemon=True)
        reader.start()
        try:
            yield watched
        finally:
            child.terminate()
            reader.join()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _range(values: Sequence[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None
