"""When a timing is not to be trusted, because something else ran or the clocks moved."""

from __future__ import annotations

from functools import cache

from kd_deploy.runtime.environment import cores, load_average

NOISY_SPREAD = 1.25
"""p90 over p50 above which a timing is called noisy."""
NOISY_LOAD = 0.5
"""Processes per core, running or waiting in the minute before, above which a timing is called noisy."""


def noise(spread: float | None, load: float | None) -> str | None:
    """Why the numbers are not to be trusted, None if they are quiet.

    Args:
        spread: p90 over p50; None where calls differ by their nature.
        load: of `load_before`; None: unknown.
    """
    wide = spread is not None and spread > NOISY_SPREAD
    busy = load is not None and load > NOISY_LOAD
    if not (wide or busy):
        return None
    signs = [f"p90 is {spread:.2f} times p50"] if wide else []
    signs += [f"{load:.2f} processes per core just before"] if busy else []
    remedy = "stop other programs and fix the clocks" if wide else "stop other programs or wait"
    return f"noisy: {' and '.join(signs)}; {remedy}"


@cache
def load_before() -> float | None:
    """Processes per core before this process's first benchmark, whose own work is no noise to the next."""
    averages = load_average()
    return None if averages is None else averages[0] / cores()
