"""Where a network's weights come from: a run, a file or smp's hub; loaded without executing anything."""

from __future__ import annotations

import pickle
from pathlib import Path

import huggingface_hub
import safetensors
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from kd_deploy.config.schema import Network
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.runtime.errors import UserError

ROLE_WEIGHTS = {"student": "student.safetensors", "teacher": "teacher.safetensors"}
"""What a finished run's network is saved as, by the role it was trained in."""

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
    """The network of a recipe's section `key` with the weights of `source`: a run, a file or `hub:ID`.

    Raises:
        UserError: nothing there, no checkpoint, or a checkpoint of another network.
    """
    hub = source.startswith("hub:")
    state = _download(source, key) if hub else read_weights(find_weights(Path(source)))
    segmenter = build(network.arch, network.encoder, num_classes, key=key)
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


def find_weights(source: Path) -> Path:
    """The weights file of a finished run, or `source` itself where it is a file."""
    files = [source, *(source / name for name in ROLE_WEIGHTS.values())]
    for file in files:
        if file.is_file():
            return file
    raise UserError(
        f"{source}: no weights there; name a finished run or a checkpoint "
        "(kd-deploy train RECIPE --role teacher -o RUN makes a teacher)"
    )


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
    for wrapper in ("network", "state_dict", "model"):  # ours, and the two common ones
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file}: holds no state dict; save the network's state_dict() alone")
    return state


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


def _download(source: str, key: str) -> dict[str, Tensor]:
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # our one line says it
    try:
        state: dict[str, Tensor] = smp.from_pretrained(source.removeprefix("hub:")).state_dict()
    except OSError as error:
        raise UserError(
            f"{source}: is not there or cannot be downloaded; where there is no network pass a checkpoint's "
            f"path, or train one: kd-deploy train RECIPE --role {key} --set {key}.weights=none -o RUN"
        ) from error
    except _NOT_OF_SMP as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{source}: is no model of segmentation-models-pytorch ({type(error).__name__}: {reason}); give the "
            "hub:OWNER/NAME of one that its save_pretrained wrote, or a checkpoint's path"
        ) from error
    return state
