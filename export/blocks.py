"""The parts of a network that may have a type of their own, and the largest values that each of them meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kd_deploy.export.graph import DeployedGraph
from kd_deploy.models.segmenter import Segmenter

Blocks = Mapping[str, Sequence[str]]
"""The parts by name, in the network's order; each the modules that are called and hold its weights, by their names."""

HEAD, UPSAMPLING = "segmentation_head", "upsampling"
"""The last two parts; the second, with the argmax in it, has no module."""


def find_blocks(segmenter: Segmenter, frame: Tensor) -> Blocks:
    """The children of encoder and decoder, which are stages and branches in every architecture, head and upsampling.

    A child that is never called itself, a list of layers say, stands for the layers in it; an only child for its own
    children. Encoder or decoder is one part where it computes with weights of its own, outside its children.

    Args:
        frame: (1, H, W, 3) uint8.
    """
    network, used = segmenter.network, _Used()
    hooks = [
        module.register_forward_pre_hook(lambda m, _: used.ids.add(id(m))) for module in network.modules()
    ]
    with used, torch.no_grad():
        DeployedGraph(segmenter)(frame)
    for hook in hooks:
        hook.remove()
    parts = _parts("encoder", network.encoder, used.ids) | _parts("decoder", network.decoder, used.ids)
    names = {module: name for name, module in network.named_modules()}
    blocks = {name: [names[module] for module in modules] for name, modules in parts.items()}
    return {**blocks, HEAD: [HEAD], UPSAMPLING: []}


def _parts(name: str, module: nn.Module, used: set[int]) -> dict[str, list[nn.Module]]:
    children = {f"{name}.{key}": child for key, child in module.named_children() if _weighted(child, used)}
    modules = {key: _outermost(child, used) for key, child in children.items()}
    if not children or _weighted(module, used, recurse=False) or not all(modules.values()):
        return {name: _outermost(module, used)}
    if len(children) == 1:
        ((name, module),) = children.items()
        return _parts(name, module, used)
    return modules


def _outermost(module: nn.Module, used: set[int]) -> list[nn.Module]:
    """The modules nearest the root that are called and together hold all weights; none if some lie outside."""
    if id(module) in used:
        return [module]
    below = [_outermost(child, used) for child in module.children() if _weighted(child, used)]
    return [] if _weighted(module, used, recurse=False) or not all(below) else list(chain(*below))


def _weighted(module: nn.Module, used: set[int], *, recurse: bool = True) -> bool:
    return any(id(weight) in used for weight in module.parameters(recurse))


class _Used(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """The ids of all tensors that operators read; a weight keeps its own as long as the network is there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ids: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ids.update(map(id, tree_leaves((args, kwargs))))
        return func(*args, **(kwargs or {}))


class Peak(NamedTuple):
    """The largest magnitude, and the operator that meets it."""

    value: float
    operator: str


def find_peaks(segmenter: Segmenter, blocks: Blocks, frames: Sequence[Tensor]) -> dict[str, Peak]:
    """The largest magnitude among what each block reads, its weights, and every operator's result in it.

    What is computed between two blocks counts for the one before.

    Args:
        frames: (1, H, W, 3) uint8 each.
    """
    peaks = _Peaks()
    hooks = [
        segmenter.network.get_submodule(member).register_forward_pre_hook(partial(peaks.enter, name))
        for name, members in blocks.items()
        for member in members
    ]
    head = segmenter.network.segmentation_head
    hooks.append(head.register_forward_hook(partial(peaks.enter, UPSAMPLING)))
    graph = DeployedGraph(segmenter)
    for frame in frames:
        peaks.enter("normalisation")
        # Not inference_mode: it would show composite operators in the place of their parts.
        with peaks, torch.no_grad():
            graph(frame)
    for hook in hooks:
        hook.remove()
    return {name: peaks.found[name] for name in blocks}


class _Peaks(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """The largest of every operator's operands and results, by the block that was entered last."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, Peak] = {}
        self._block = ""

    def enter(self, block: str, *_: Any) -> None:
        self._block = block

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        values = [_magnitude(x) for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        if func is torch.ops.aten.native_group_norm.default:
            # ONNX's InstanceNormalization, unlike its LayerNormalization, promises no float32 for squared deviations.
            values.append((2 * _magnitude(args[0])) ** 2)
        before = self.found.get(self._block, Peak(0.0, ""))
        self.found[self._block] = max(
            before, *(Peak(value, str(func)) for value in values), before, key=_order
        )
        return result


def _magnitude(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, float("inf"))) if x.is_floating_point() and x.numel() else 0.0


def _order(peak: Peak) -> float:
    return float("inf") if peak.value != peak.value else peak.value  # what is not a number comes first
