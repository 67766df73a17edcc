"""The reference backend: PyTorch, over a live network or a bundle's own weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kd_deploy.config.schema import Network
from kd_deploy.config.views import WHOLE, Views
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.section import read_section
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import load
from kd_deploy.runtime.bundle import Bundle
from kd_deploy.runtime.environment import cpu_name
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.model import Description, Model


class TorchModel(Model):
    """A network in PyTorch, float32, behind the same frame and mask as every deployed graph.

    `size` is the height and width of the frames it takes; None: of any, one size in each batch.

    Attributes:
        views: what its masks are made of.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        size: tuple[int, int] | None,
        device: torch.device,
        views: Views = WHOLE,
    ) -> None:
        self._graph = DeployedGraph(segmenter, views).to(device)
        self._device = device
        self.views = views
        self.size = size

    def describe(self) -> Description:
        on_gpu = self._device.type == "cuda"
        return Description(
            backend="torch",
            precision="fp32",
            device=torch.cuda.get_device_name(self._device) if on_gpu else cpu_name(),
            versions={"torch": str(torch.__version__), "numpy": np.__version__},
        )

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        training = self._graph.segmenter.training
        self._graph.eval()
        try:
            with torch.inference_mode():
                masks = self._graph(torch.tensor(frames, device=self._device))
        finally:
            self._graph.train(training)
        result: NDArray[np.uint8] = masks.cpu().numpy()
        return result

    def _close(self) -> None:
        """Nothing to free: the network is its maker's."""


def open_backend(bundle: Bundle, precision: str, threads: int | None = None) -> Model:
    """The network that the bundle was exported from, with its float32 weights, on the CPU.

    Raises:
        UserError: another precision than fp32, or the manifest's network or the reference weights are damaged.
    """
    if precision != "fp32":
        raise UserError(f"--precision {precision}: the torch backend is the fp32 reference; leave it out")
    network = read_section(bundle, "network", Network, {**bundle.manifest["network"], "weights": "none"})
    if threads is not None:
        torch.set_num_threads(threads)  # of the whole process; torch knows no other way
    weights = bundle.vouched(bundle.manifest["reference"])
    segmenter = load(network, str(weights), len(bundle.classes), key="reference")
    return TorchModel(segmenter, bundle.size, torch.device("cpu"))
