"""What is added up over a logging interval."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from kd_deploy.distill.objective import Losses


class Window:
    """Means of every loss term and the time spent over one logging interval, evaluations left out.

    Sums stay on the device until the interval ends, so that a step does not wait for the numbers.

    Attributes:
        waited: of the seconds, those in which the loop waited for a batch.
    """

    def __init__(
        self,
        sums: dict[str, Tensor] | None = None,
        steps: int = 0,
        images: int = 0,
        seconds: float = 0.0,
        waited: float = 0.0,
    ) -> None:
        self._sums = sums or {}
        self._steps, self.images, self._seconds, self.waited = steps, images, seconds, waited
        self._since: float | None = None
        self.go_on()

    def go_on(self) -> None:
        self._since = time.perf_counter()

    def pause(self) -> None:
        self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """Time spent so far, pauses left out."""
        return self._seconds + (0.0 if self._since is None else time.perf_counter() - self._since)

    def add(self, losses: Losses, images: int) -> None:
        values = {"loss": losses.total, **losses.raw}
        values |= {f"{name}.weighted": value for name, value in losses.weighted.items()}
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self.images += images

    def share(self, mean: Callable[[dict[str, Tensor]], dict[str, float]]) -> None:
        """Take the mean over all processes as this one's sums: a checkpoint holds one window for all."""
        self._sums = {name: self._sums[name].new_tensor(value) for name, value in mean(self._sums).items()}

    def means(self) -> dict[str, Tensor]:
        return {name: total / self._steps for name, total in self._sums.items()}

    def state(self) -> dict[str, Any]:
        """What `Window(**state)` goes on from."""
        return {
            "sums": self._sums,
            "steps": self._steps,
            "images": self.images,
            "seconds": self.seconds,
            "waited": self.waited,
        }
