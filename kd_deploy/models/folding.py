"""Batch norm multiplied into the convolution before it: the same function, one pass over the pixels less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NORMS = nn.BatchNorm2d, BatchNormAct2d
"""These and none that inherit from them, whose forward pass may do more."""

Outputs = Callable[[nn.Module], Iterable[Tensor]]
Pair = tuple[nn.Conv2d | nn.ConvTranspose2d, nn.BatchNorm2d]


@torch.no_grad()
def fold_batchnorm(network: nn.Module, outputs: Outputs) -> None:
    """Fold every batch norm that reads a convolution's output, where nothing else reads it; in place.

    In eval mode a batch norm is gamma (x - mean) / sqrt(var + eps) + beta (Ioffe and Szegedy, ICML 2015, algorithm 2):
    a factor and an addend for each channel, which the convolution's weight and bias take over. Left as they are:
    norms without running statistics, modules that are used twice, weights that are computed before the convolution,
    and transposed convolutions in groups.

    Args:
        network: in eval mode.
        outputs: calls a copy of the network, which is on the meta device, and returns all that its user may read.
    """
    rests: dict[nn.Module, nn.Module] = {}
    for convolution, norm in _pairs(network, outputs):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
            transpose=isinstance(convolution, nn.ConvTranspose2d),
        )
        # timm's has dropout too, which is for training.
        rests[norm] = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity().eval()
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if module in rests:
            network.set_submodule(name, rests[module])


def _pairs(network: nn.Module, outputs: Outputs) -> list[Pair]:
    """Convolutions and norms that may become one, found in a forward pass that has shapes alone.

    From the operator that makes a tensor to those that read it, it is one object. That proves a pair whatever code
    stands between; symbolic tracing would fail on many encoders.
    """
    twin = deepcopy(network).to("meta")
    owners: dict[int, Any] = {}  # modules of `network`, by what their twins alone hand to an operator
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # A bias for each, to see that the forward pass will take one.
            module.bias = nn.Parameter(module.weight.new_empty(module.out_channels))
            owners[id(module.weight)] = owners[id(module.bias)] = network.get_submodule(name)
        elif type(module) in NORMS and module.running_mean is not None:
            owners[id(module.running_mean)] = network.get_submodule(name)
    with _Calls() as calls:
        returned = list(outputs(twin))
    reads = Counter(id(x) for x in tree_leaves([[(call.args, call.kwargs) for call in calls.made], returned]))
    convolved = {
        id(call.result): call.args
        for call in calls.made
        if call.operator is torch.ops.aten.convolution.default
    }
    pairs = []
    for call in calls.made:
        if call.operator is not torch.ops.aten.native_batch_norm.default or id(call.args[0]) not in convolved:
            continue
        x, _, _, mean, _, training, *_ = call.args
        _, weight, bias, *_, transposed, _, groups = convolved[id(x)]
        whole = id(weight) in owners and owners.get(id(bias)) is owners[id(weight)] and id(mean) in owners
        alone = all(reads[id(tensor)] == 1 for tensor in (x, weight, bias, mean))
        if whole and alone and not training and not (transposed and groups > 1):
            pairs.append((owners[id(weight)], owners[id(mean)]))
    return pairs


class _Call(NamedTuple):
    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Every operator's call, in order. It holds the tensors, so that no two of them have one id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[_Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.made.append(_Call(func, args, kwargs or {}, result))
        return result
