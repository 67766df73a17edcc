"""Lines in the forms of JetPack 5, 6 and 7, and a program that prints them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kd_deploy.runtime.benchmark import benchmark_all
from kd_deploy.runtime.benchmark.tegrastats import Reading, Watch, parse, summarise, watch

# Orin Nano, JetPack 5: capitals, a sensor without power, root's clocks.
NANO_5 = (
    "11-03-2023 09:12:44 RAM 3101/7463MB (lfb 9x4MB) SWAP 0/3732MB (cached 0MB) "
    "CPU [43%@1510,31%@1344,off,off,12%@806,9%@806] EMC_FREQ 17%@2133 GR3D_FREQ 58%@[611] NVDEC off NVJPG off "
    "CV0@-256C CPU@48.5C SOC2@47.2C SOC0@46.9C GPU@47.7C tj@49.125C SOC1@47C "
    "VDD_IN 8840mW/8112mW VDD_CPU_GPU_CV 4175mW/3902mW VDD_SOC 2090mW/1987mW"
)
# Orin Nano, JetPack 6, not as root: small letters, no clock of the GPU.
NANO_6 = (
    "08-14-2025 16:01:09 RAM 2210/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [11%@1420,2%@1420,0%@1420,2%@1420,1%@729,1%@729] GR3D_FREQ 37% cpu@50.1C soc2@49C soc0@50C gpu@49.1C "
    "tj@50.25C soc1@50.25C VDD_IN 6120mW/6005mW VDD_CPU_GPU_CV 1902mW/1811mW VDD_SOC 1475mW/1475mW"
)
# AGX Orin, JetPack 5: no meter at the input, rails that are part of others or not connected.
AGX_5 = (
    "RAM 4102/30536MB (lfb 200x4MB) SWAP 0/15268MB (cached 0MB) CPU [10%@2201,5%@2201,off,off] "
    "EMC_FREQ 1%@2133 GR3D_FREQ 4%@[305,306] VIC_FREQ 115 APE 174 CPU@50C tj@50.5C "
    "VDD_GPU_SOC 3200mW/3210mW VDD_CPU_CV 1600mW/1610mW VIN_SYS_5V0 5000mW/5010mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 400mW/400mW NC 0mW/0mW"
)
# AGX Orin, JetPack 7: also the greatest of each, temperatures too.
AGX_7 = (
    "07-21-2026 10:40:12 RAM 20511/62817MB (lfb 1x2MB) CPU [23%@2201,10%@1190] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] NVENC0 off PVA0_FREQ off APE 174 cpu@52.9C/53.4C gpu@47.6C/47.6C tj@53C/53.5C "
    "VDD_GPU_SOC 5100mW/5139mW/5200mW VDD_CPU_CV 3200mW/3268mW/3300mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
# AGX Thor, JetPack 7: no load of the GPU, a rail that a meter puts below zero, an input.
THOR_7 = (
    "07-05-2026 13:45:44 RAM 36529/125749MB (lfb 12x4MB) CPU [2%@972,1%@1566] GR3D_FREQ @[314,314,314] VIC off "
    "cpu@37.3C tj@38.8C soc012@37.4C gpu@38.8C VDD_GPU -392mW/-392mW VDD_CPU_SOC_MSS 5887mW/5887mW "
    "VIN_SYS_5V0 5635mW/5635mW VIN 19780mW/19780mW"
)


def test_an_orin_nanos_line() -> None:
    assert parse(NANO_5) == Reading(
        rails_mw={"VDD_IN": 8840, "VDD_CPU_GPU_CV": 4175, "VDD_SOC": 2090},
        gpu_percent=58,
        gpu_mhz=611,
        cpu_mhz=(1510, 1344, 806, 806),
        hottest_c=49.125,
        ram_mb=3101,
    )
    later = parse(NANO_6)
    assert (later.gpu_percent, later.gpu_mhz, later.hottest_c) == (37, None, 50.25)
    assert later.rails_mw["VDD_IN"] == 6120


@pytest.mark.parametrize(
    ("line", "total", "rails"),
    [
        (NANO_5, 8840, ("VDD_IN",)),
        (NANO_6, 6120, ("VDD_IN",)),
        (AGX_5, 3200 + 1600 + 5000, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),
        (AGX_7, 5100 + 3200 + 5500, ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")),
        (THOR_7, 19780, ("VIN",)),
    ],
)
def test_what_a_board_draws_in_all(line: str, total: int, rails: tuple[str, ...]) -> None:
    power = summarise([parse(line)])
    assert power is not None
    assert (power.total_mw, power.total_of) == (total, rails)
    assert "NC" not in power.rails_mw


def test_a_thor_gives_clocks_without_a_load() -> None:
    reading = parse(THOR_7)
    assert (reading.gpu_percent, reading.gpu_mhz) == (None, 314)
    assert reading.rails_mw["VDD_GPU"] == -392
    assert parse(AGX_7).gpu_mhz == 1300
    assert parse(AGX_7).hottest_c == 53


def test_readings_become_means_and_ranges() -> None:
    power = summarise([parse(NANO_5), parse(NANO_6)])
    assert power is not None
    assert power.readings == 2
    assert power.total_mw == (8840 + 6120) / 2
    assert power.gpu_percent == (58 + 37) / 2
    assert (power.gpu_mhz, power.cpu_mhz) == ((611, 611), (729, 1510))
    assert (power.hottest_c, power.ram_mb) == (50.25, 3101)


def test_a_line_of_something_else_says_nothing() -> None:
    assert parse("tegrastats: cannot open") == Reading({}, None, None, (), None, None)
    power = summarise([parse("RAM 1/2MB")])
    assert power is not None
    assert (power.total_mw, power.total_of) == (None, ())
    assert summarise([]) is None


def test_a_reading_belongs_to_the_turn_whose_interval_it_tells_of(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([50, 120, 260, 320])  # milliseconds

    class Clock:
        @staticmethod
        def perf_counter_ns() -> int:
            return next(times) * 1_000_000

    monkeypatch.setattr("kd_deploy.runtime.benchmark.tegrastats.time", Clock)
    watched = Watch()
    watched.read(iter([f"VDD_IN {watts}000mW/0mW" for watts in (1, 2, 3, 4)]))  # type: ignore[arg-type]
    first, second = [(0, 200_000_000)], [(200_000_000, 330_000_000)]
    power = watched.during(first)
    assert power is not None
    assert (power.readings, power.total_mw) == (1, 2000)  # the one at 50 ms began before
    power = watched.during(second)
    assert power is not None
    assert power.total_mw == 4000


def test_the_program_runs_while_something_is_timed_and_ends(program: Any) -> None:
    script = program(
        "tegrastats", f"echo \"$@\" > $0.arguments\nwhile :; do echo '{NANO_5}'; sleep 0.02; done"
    )
    with watch() as watched:
        begin = time.perf_counter_ns()
        while (power := watched.during([(begin, time.perf_counter_ns())])) is None:
            time.sleep(0.01)
    assert power.total_mw == 8840
    assert script.with_name("tegrastats.arguments").read_text().split() == ["--interval", "100"]


def test_a_timing_has_the_power(program: Any, images: Any, fake_model: Any) -> None:
    script = program("tegrastats", f"touch $0.runs; while :; do echo '{NANO_5}'; sleep 0.02; done")

    def slow(frames: Any) -> Any:
        while len(model.calls) > 2 and not script.with_name("tegrastats.runs").exists():  # after the warm-up
            time.sleep(0.01)
        time.sleep(0.002)
        return frames[..., 0]

    model = fake_model(function=slow)
    (timing,) = benchmark_all(
        [model], boundary="frame", frames=images(), seconds=0.5, min_n=1, warmup_seconds=0
    )
    assert timing.energy_mj == pytest.approx(8840 / timing.fps)


def test_without_the_program_there_is_no_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with watch() as watched:
        pass
    assert watched.during([(0, 2**62)]) is None
