"""float16 and bfloat16 networks: every part's type is written into the graph, and float32 stays where it is needed.

A strongly typed graph leaves nothing to a runtime: TensorRT 11 knows no other way, and no converter guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from kd_deploy.export.blocks import UPSAMPLING, Blocks, Peak, find_blocks, find_peaks
from kd_deploy.export.graph import DeployedGraph
from kd_deploy.export.mix_transformer import rewritten
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.runtime.errors import UserError

Half = Literal["fp16", "bf16"]

DTYPES: Mapping[Half, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}

MIN_AGREEMENT = 99.5
"""Percent of the calibration frames' pixels whose class float32 gives too. Trained students reach 99.95 in fp16 and
99.8 in bf16, differing where two classes tie; a part that suffers costs whole percents."""

MIN_FRAMES = 4
"""Fewer calibration frames say too little of a network's largest values."""

HEADROOM = 4.0
"""What the calibration frames reach, times this, must still be a number: other frames reach more."""


@dataclass(frozen=True)
class Island:
    """A part that computes in float32.

    Attributes:
        agreement: percent of equal pixels with this part and those before it in float32; parts that would overflow
            are there from the start, all together.
    """

    block: str
    reason: str
    agreement: float


@dataclass(frozen=True)
class HalfReport:
    """What was chosen, and what it rests on.

    Attributes:
        frames: how many calibrated.
        blocks: the parts among which was chosen.
        agreement: percent of the calibration frames' pixels that have float32's class, as chosen.
        largest: the largest magnitude that each part reads, computes or holds as a weight, in float32.
    """

    precision: Half
    frames: int
    min_agreement: float
    agreement: float
    islands: tuple[Island, ...]
    blocks: tuple[str, ...]
    largest: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        islands = "; ".join(f"{island.block} stays float32, since {island.reason}" for island in self.islands)
        return (
            f"{self.precision}: {self.agreement:.3f} % of {self.frames} calibration frames' pixels agree with fp32"
            f"; {islands or 'no part needs float32'}"
        )


def make_half(
    segmenter: Segmenter,
    frames: Sequence[NDArray[np.uint8]],
    precision: Half,
    *,
    min_agreement: float = MIN_AGREEMENT,
) -> tuple[DeployedGraph, HalfReport]:
    """The deployed graph in half precision, with float32 parts where overflow or disagreement asks for them.

    First the parts that come near the type's largest value, found in float32; then, until the masks agree, one by
    one the part whose float32 raises the agreement most. The frame is normalised in float32: 255 levels less a mean
    would lose bits.

    Args:
        segmenter: the trained float32 network; it is left as it is, and measures on its own device.
        frames: (H, W, 3) uint8 BGR, of the deployed size.
        min_agreement: percent of pixels that must have float32's class.

    Raises:
        UserError: too few frames, or no part can leave float32.
    """
    check_frames(len(frames), precision)
    whole = rewritten(segmenter)
    batches = [torch.tensor(frame[None], device=whole.mean.device) for frame in frames]
    blocks = find_blocks(whole, batches[0])
    peaks = find_peaks(whole, blocks, batches)
    reference = _masks(whole, batches)

    def typed(islands: Sequence[str]) -> Segmenter:
        return type_blocks(whole, blocks, DTYPES[precision], islands)

    def agreement(islands: Sequence[str]) -> float:
        return 100 * float((_masks(typed(islands), batches) == reference).double().mean())

    agreed, islands = _choose(blocks, agreement, _overflows(peaks, precision), min_agreement)
    names = [island.block for island in islands]
    if not any(members for name, members in blocks.items() if name not in names):
        raise UserError(
            f"--precision {precision}: no part of this network holds {min_agreement:g} % of float32's pixels in "
            f"{precision}; export without it"
        )
    report = HalfReport(
        precision=precision,
        frames=len(frames),
        min_agreement=min_agreement,
        agreement=agreed,
        islands=tuple(islands),
        blocks=tuple(blocks),
        largest={name: peak.value for name, peak in peaks.items()},
    )
    return DeployedGraph(typed(names)).eval(), report


def check_frames(count: int, precision: Half) -> None:
    """Raise a UserError where so many calibration frames are too few."""
    if count < MIN_FRAMES:
        raise UserError(
            f"--precision {precision}: {count} calibration frames are too few, it takes {MIN_FRAMES}; "
            "raise --calibration, or give a data set that has more"
        )


def _choose(
    blocks: Blocks,
    agreement: Callable[[Sequence[str]], float],
    overflows: Mapping[str, str],
    min_agreement: float,
) -> tuple[float, list[Island]]:
    """The agreement, and the islands that it takes: greedily, until it is enough or none is left."""
    agreed = agreement(list(overflows))
    islands = [Island(name, reason, agreed) for name, reason in overflows.items()]
    while agreed < min_agreement and len(islands) < len(blocks):
        names = [island.block for island in islands]
        trials = {name: agreement([*names, name]) for name in blocks if name not in names}
        best = max(trials, key=lambda name: trials[name])
        reason = f"the pixels that agree go from {agreed:.3f} to {trials[best]:.3f} %"
        agreed = trials[best]
        islands.append(Island(best, reason, agreed))
    return agreed, islands


def _overflows(peaks: Mapping[str, Peak], precision: Half) -> dict[str, str]:
    """Parts that come too near the type's largest value, and why."""
    largest = torch.finfo(DTYPES[precision]).max
    return {
        name: f"{peak.operator} reaches {peak.value:.3g}, and {precision} ends at {largest:.3g}"
        for name, peak in peaks.items()
        if not HEADROOM * peak.value <= largest  # nan too
    }


def type_blocks(
    segmenter: Segmenter, blocks: Blocks, dtype: torch.dtype, islands: Sequence[str]
) -> Segmenter:
    """A copy whose parts have `dtype` but for the `islands`, which have float32.

    Each part casts what it reads to its own type, and hands on what it computes as it is: between two islands
    nothing is rounded, and a value that only float32 holds reaches the next one. The casts are hooks, so that the
    network keeps its modules and their names.
    """
    typed = deepcopy(segmenter)
    for name, members in blocks.items():
        own = torch.float32 if name in islands else dtype
        for member in members:
            module = typed.network.get_submodule(member).to(own)
            module.register_forward_pre_hook(partial(_cast_inputs, own), with_kwargs=True)
        if name == UPSAMPLING:
            typed.network.segmentation_head.register_forward_hook(partial(_cast_output, own))
    return typed


def _cast_inputs(dtype: torch.dtype, _: nn.Module, args: Any, kwargs: Any) -> Any:
    return tree_map(partial(_cast, dtype), (args, kwargs))


def _cast_output(dtype: torch.dtype, _: nn.Module, __: Any, output: Any) -> Any:
    return tree_map(partial(_cast, dtype), output)


def _cast(dtype: torch.dtype, x: Any) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


@torch.no_grad()
def _masks(segmenter: Segmenter, batches: Sequence[Tensor]) -> Tensor:
    """(N, H, W) uint8: what the deployed graph gives."""
    graph = DeployedGraph(segmenter).eval()
    with _WideProducts() if segmenter.mean.device.type == "cpu" else nullcontext():
        return torch.cat([graph(frame) for frame in batches])


class _WideProducts(TorchDispatchMode):
    """Half convolutions and matrix products on a CPU: multiplied and summed in float32, then rounded.

    So does a GPU's matrix unit. torch's own kernels do it too, in another order, and take 8 to 15 times as long as in
    float32 where the CPU has no half arithmetic.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _PRODUCTS or args[0].dtype == torch.float32:
            return func(*args, **(kwargs or {}))
        return func(*tree_map(partial(_cast, torch.float32), args), **(kwargs or {})).to(args[0].dtype)


_PRODUCTS = (
    torch.ops.aten.convolution.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
)
