"""Where a network's weights come from: a run, a file, smp's hub or a copy of it; loaded without executing anything."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import safetensors
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from kd_deploy.config.architectures import ARCHITECTURES
from kd_deploy.config.schema import Network
from kd_deploy.models.hub import hub
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.errors import UserError

ROLE_WEIGHTS = {"student": "student.safetensors", "teacher": "teacher.safetensors"}
"""What a finished run's network is saved as, by the role it was trained in."""

_HUB = "model.safetensors", "config.json"
"""What smp's save_pretrained writes: the weights, and the arguments that the network was made with."""

_MAY_DIFFER = {"classes", "encoder_weights", "upsampling", "aux_params"}
"""Those arguments that change no weight but the head's, and no output but its size; besides every dropout."""

_HEAD = "segmentation_head.0."
"""The layer whose outputs are the classes, in smp's networks."""

_NOT_OF_SMP = (KeyError, ValueError, TypeError, AttributeError, RuntimeError, safetensors.SafetensorError)
"""What smp.from_pretrained raises for a name that is none, and for repositories of other libraries."""


def make(network: Network, num_classes: int, *, key: str) -> Segmenter:
    """The network of a recipe's section `key`, with the weights that the section names."""
    if network.weights in ("imagenet", "none"):
        pretrained = network.weights == "imagenet"
        return build(network.arch, network.encoder, num_classes, pretrained=pretrained, key=key)
    return load(network, network.weights, num_classes, key=key)


def load(network: Network, source: str, num_classes: int, *, key: str) -> Segmenter:
    """The network of a recipe's section `key` with the weights of `source`: a run, a file, a folder or `hub:ID`.

    Raises:
        UserError: nothing there, no checkpoint, or a checkpoint of another network.
    """
    state, config = _download(source, key) if source.startswith("hub:") else _read(Path(source))
    widths = _widths(network, state)
    segmenter = build(network.arch, network.encoder, num_classes, key=key, options=widths)
    if config:
        _check_config(config, segmenter, network, source, key)
    expected = segmenter.network.state_dict()
    wrong = [k for k in expected if k not in state or state[k].shape != expected[k].shape]
    wrong += [k for k in state if k not in expected]
    if wrong and all(k.startswith(_HEAD) for k in wrong) and f"{_HEAD}weight" in state:
        raise UserError(
            f"{source}: the {key} has {len(state[f'{_HEAD}weight'])} classes, the data set {num_classes}; give a "
            f"checkpoint of these classes (kd-deploy train RECIPE --role {key} -o RUN makes one)"
        )
    if wrong:
        raise UserError(
            f"{source}: is a checkpoint of another network than {key} ({network.arch} on {network.encoder}, "
            f"{num_classes} classes): {_difference(wrong[0], state, expected)}, and {len(wrong) - 1} more "
            f"keys differ; check --set {key}.arch, {key}.encoder and the data's classes"
        )
    segmenter.network.load_state_dict(state)
    return segmenter


def _widths(network: Network, state: dict[str, Tensor]) -> dict[str, Any]:
    """SegFormer's head is 256 wide for B0 and B1 and 768 above (Xie et al., table 6), and smp's always 256."""
    fuse = state.get("decoder.fuse_stage.0.weight")
    if network.arch != "segformer" or fuse is None:
        return {}
    return {"decoder_segmentation_channels": len(fuse)}


def _check_config(
    config: dict[str, Any], segmenter: Segmenter, network: Network, source: str, key: str
) -> None:
    """Refuse a network made with other arguments: weights may fit and mean something else, as with a dilation."""
    ours = json.loads(json.dumps(_config(segmenter.network)))
    kept = [k for k in ours if k in config and k not in _MAY_DIFFER and not k.endswith("dropout")]
    differing = [k for k in kept if config[k] != ours[k]]
    if not differing:
        return
    arch = next((a for a, known in ARCHITECTURES.items() if known.smp == config["_model_class"]), None)
    encoder = config.get("encoder_name")
    if arch and {"_model_class", "encoder_name"} & set(differing):
        raise UserError(
            f"{source}: is {arch} on {encoder}, and the {key} is {network.arch} on {network.encoder}; "
            f"pass --set {key}.arch={arch} --set {key}.encoder={encoder}, or other weights"
        )
    name = differing[0].removeprefix("_")
    raise UserError(
        f"{source}: was made with {name} {config[differing[0]]!r}, and kd-deploy makes the {key} ({network.arch} on "
        f"{network.encoder}) with {ours[differing[0]]!r}; give other weights"
    )


def _config(network: smp.base.SegmentationModel) -> dict[str, Any]:
    return {"_model_class": type(network).__name__, **network.config}


def find_weights(source: Path) -> Path:
    """The weights file of a finished run or of a copy from smp's hub, or `source` itself where it is a file."""
    files = [source, *(source / name for name in (*ROLE_WEIGHTS.values(), _HUB[0]))]
    for file in files:
        if file.is_file():
            return file
    raise UserError(
        f"{source}: no weights there; name a finished run or a checkpoint "
        "(kd-deploy train RECIPE --role teacher -o RUN makes a teacher)"
    )


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """A state dict, and the arguments of its network where smp's config.json stands beside it."""
    file = find_weights(source)
    config = file.with_name(_HUB[1])
    return read_weights(file), _read_config(config) if file.name == _HUB[0] and config.is_file() else None


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); copy the model again") from error
    if not isinstance(config, dict) or not isinstance(config.get("_model_class"), str):
        raise UserError(
            f"{file}: describes no model of segmentation-models-pytorch; give a folder that its save_pretrained "
            "wrote, or the path of a checkpoint"
        )
    return config


def read_weights(file: Path) -> dict[str, Tensor]:
    """The state dict of a .safetensors file, or of a .pt/.pth file read with weights_only=True.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        if file.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(file)
            return tensors
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{file}: cannot be read as a checkpoint ({reason}); give a .safetensors file, or a .pt/.pth "
            "file that holds a state dict alone"
        ) from error
    if isinstance(state, dict) and "average" in state:
        state = scored_weights(state)
    for wrapper in ("network", "state_dict", "model"):  # ours, and the two common ones
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: holds no state dict; save the network's state_dict() alone")
    return state


def scored_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The network that a run's checkpoint was scored with, as smp's state dict: the averaged one where there is one."""
    prefix = "module.network."
    average = checkpoint["average"]
    if not average:
        network: dict[str, Tensor] = checkpoint["network"]
        return network
    return {key.removeprefix(prefix): value for key, value in average.items() if key.startswith(prefix)}


def write_weights(state: dict[str, Tensor], file: Path) -> None:
    """Write a state dict as .safetensors.

    Raises:
        OSError: the disk refuses (safetensors' own writer raises something else).
    """
    file.write_bytes(save({key: value.detach().cpu().contiguous() for key, value in state.items()}))


def _difference(key: str, state: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    if key not in state:
        return f"{key} is missing"
    if key not in expected:
        return f"{key} is not one of its keys"
    return f"{key} is {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"


def _download(source: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with hub():
            model = smp.from_pretrained(source.removeprefix("hub:"))
        return model.state_dict(), _config(model)
    except OSError as error:
        raise UserError(
            f"{source}: is not there or cannot be downloaded; where there is no network pass a checkpoint's path "
            "or a folder with the model's config.json and model.safetensors, or train one: "
            f"kd-deploy train RECIPE --role {key} --set {key}.weights=none -o RUN"
        ) from error
    except _NOT_OF_SMP as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{source}: is no model of segmentation-models-pytorch ({type(error).__name__}: {reason}); give the "
            "hub:OWNER/NAME of one that its save_pretrained wrote, or a checkpoint's path"
        ) from error
