"""Where weights come from, and every wrong file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import nn

from kd_deploy.config.schema import Network
from kd_deploy.models.segmenter import Segmenter, build
from kd_deploy.models.weights import load, make, read_weights, write_weights
from kd_deploy.runtime.errors import UserError

NETWORK = Network(arch="segformer", encoder="mit_b0", weights="none")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(3)
    return build("segformer", "mit_b0", 4)


def equal(a: Segmenter, b: Segmenter) -> bool:
    pairs = zip(a.network.state_dict().items(), b.network.state_dict().items(), strict=True)
    return all(k == m and torch.equal(v, w) for (k, v), (m, w) in pairs)


def refusal(source: Path | str, classes: int = 4) -> str:
    with pytest.raises(UserError) as caught:
        load(NETWORK, str(source), classes, key="student")
    message = str(caught.value)
    assert message.startswith(f"{source}: ")
    assert "\n" not in message
    return message


def test_every_kind_of_file_gives_the_same_network(segmenter: Segmenter, tmp_path: Path) -> None:
    state = segmenter.network.state_dict()
    write_weights(state, tmp_path / "plain.safetensors")
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pth")
    run = tmp_path / "run"
    run.mkdir()
    write_weights(state, run / "student.safetensors")
    for source in ("plain.safetensors", "plain.pt", "wrapped.pth", "run"):
        assert equal(load(NETWORK, str(tmp_path / source), 4, key="student"), segmenter)
    section = NETWORK.model_copy(update={"weights": str(tmp_path / "plain.pt")})
    assert equal(make(section, 4, key="student"), segmenter)


def test_none_is_drawn_from_the_seed() -> None:
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(make(NETWORK, 4, key="student"))
    assert equal(made[0], made[1])
    assert not equal(made[0], made[2])


def test_a_checkpoint_of_another_network(segmenter: Segmenter, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    write_weights(segmenter.network.state_dict(), file)
    assert f"{file}: the student has 4 classes, the data set 11; give" in refusal(file, classes=11)
    write_weights(build("deeplabv3plus", "mobilenet_v2", 11).network.state_dict(), file)
    message = refusal(file)
    assert "another network than student (segformer on mit_b0, 4 classes)" in message
    assert "is missing" in message
    wider = {
        k: torch.cat([v, v]) if k == "encoder.norm1.bias" else v
        for k, v in segmenter.network.state_dict().items()
    }
    write_weights(wider, file)
    message = refusal(file)
    assert "encoder.norm1.bias is (64,), expected (32,)" in message
    write_weights({**segmenter.network.state_dict(), "extra": torch.zeros(1)}, file)
    assert "extra is not one of its keys" in refusal(file)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "no weights there" in refusal(tmp_path / "nowhere")
    assert "no weights there" in refusal(tmp_path)  # a folder that is no finished run
    for name in ("garbage.safetensors", "garbage.pt"):
        (tmp_path / name).write_bytes(b"not a checkpoint at all")
        assert "cannot be read as a checkpoint" in refusal(tmp_path / name)
        (tmp_path / name).write_bytes(b"")
        assert "cannot be read as a checkpoint" in refusal(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds no state dict" in refusal(tmp_path / "list.pt")
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    assert "holds no state dict" in refusal(tmp_path / "tensor.pt")


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")  # a whole module needs its class to be called
    assert "cannot be read as a checkpoint" in refusal(tmp_path / "module.pt")


def test_a_half_written_file(segmenter: Segmenter, tmp_path: Path) -> None:
    for name in ("w.safetensors", "w.pt"):
        file = tmp_path / name
        if file.suffix == ".pt":
            torch.save(segmenter.network.state_dict(), file)
        else:
            save_file(segmenter.network.state_dict(), file)
        file.write_bytes(file.read_bytes()[:-1000])
        assert "cannot be read as a checkpoint" in refusal(file)


def test_writing_to_a_full_disk_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_weights({"w": torch.zeros(100_000)}, Path("/dev/full"))
    write_weights({"w": torch.arange(6).view(2, 3).T}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["w"], torch.arange(6).view(2, 3).T)


def test_a_hub_id(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def from_pretrained(name: str) -> nn.Module:
        asked.append(name)
        return segmenter.network

    monkeypatch.setattr(smp, "from_pretrained", from_pretrained)
    assert equal(load(NETWORK, "hub:org/net", 4, key="student"), segmenter)
    assert asked == ["org/net"]

    def offline(name: str) -> Any:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(smp, "from_pretrained", offline)
    assert "cannot be downloaded; where there is no network" in refusal("hub:org/net")


@pytest.mark.parametrize(
    "error",
    [KeyError("_model_class"), ValueError("Repo id must\nbe"), AttributeError("x"), RuntimeError("Size")],
)
def test_a_hub_id_of_another_library(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(name: str) -> Any:
        raise error

    monkeypatch.setattr(smp, "from_pretrained", from_pretrained)
    assert f"is no model of segmentation-models-pytorch ({type(error).__name__}: " in refusal("hub:org/net")


def test_a_hub_id_that_is_none() -> None:
    assert "HFValidationError" in refusal("hub:a/b/c")  # refused before any network
