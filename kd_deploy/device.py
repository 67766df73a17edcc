"""Where PyTorch computes."""

from __future__ import annotations

import torch

from kd_deploy.runtime.errors import MissingComponentError


def make_device(name: str) -> torch.device:
    """auto (the GPU where there is one), cpu or cuda.

    Raises:
        MissingComponentError: cuda was asked for and is not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise MissingComponentError(
            f"cuda: torch {torch.__version__} finds no usable GPU (nvidia-smi shows the driver); "
            "use --device cpu, or install a torch built for your driver"
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")
