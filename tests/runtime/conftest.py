"""A model without a network, for tests of everything that only needs masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_deploy.runtime.model import Description, Model
from tests.runtime.gpu import gpu, tiny, without_tensorrt  # noqa: F401  # fixtures

Array = NDArray[np.uint8]


class FakeModel(Model):
    """The mask is a function of the frames, by default the blue channel; `calls` keeps what came in."""

    def __init__(
        self,
        size: tuple[int, int] = (24, 32),
        function: Callable[[Array], Array] = lambda frames: frames[..., 0],
        precision: str = "fp32",
    ) -> None:
        self.size = size
        self.calls: list[Array] = []
        self._function = function
        self._precision = precision

    def describe(self) -> Description:
        return Description("fake", self._precision, "nothing", {})

    def _run(self, frames: Array) -> Array:
        self.calls.append(frames)
        return np.ascontiguousarray(self._function(frames))

    def _close(self) -> None:
        pass


@pytest.fixture
def fake_model() -> type[FakeModel]:
    return FakeModel
