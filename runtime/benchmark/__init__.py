"""Time models side by side, with every sample kept and the boundary named."""

from kd_deploy.runtime.benchmark.noise import NOISY_LOAD, NOISY_SPREAD
from kd_deploy.runtime.benchmark.results import benchmark_bundle, to_json
from kd_deploy.runtime.benchmark.timing import Boundary, Timing
from kd_deploy.runtime.benchmark.turns import benchmark_all
from kd_deploy.runtime.benchmark.video import benchmark_video

__all__ = [
    "NOISY_LOAD",
    "NOISY_SPREAD",
    "Boundary",
    "Timing",
    "benchmark_all",
    "benchmark_bundle",
    "benchmark_video",
    "to_json",
]
