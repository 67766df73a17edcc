"""Where weights come from, and every wrong file."""

from __future__ import annotations

import json
import shutil
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


@pytest.fixture(scope="module")
def hub_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as smp writes it and its hub holds it, of a SegFormer with a head as wide as B2's is there."""
    folder = tmp_path_factory.mktemp("hub")
    model = smp.Segformer("mit_b0", encoder_weights=None, decoder_segmentation_channels=48, classes=4)
    model.save_pretrained(folder)
    return folder


def copy_of(folder: Path, to: Path, **changes: Any) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | changes))
    return to


def test_a_copy_of_a_hub_model(hub_copy: Path) -> None:
    loaded = load(NETWORK, str(hub_copy), 4, key="student").eval()
    theirs = smp.from_pretrained(str(hub_copy)).eval()
    assert loaded.network.decoder.fuse_stage[0].out_channels == 48
    assert loaded.network.state_dict().keys() == theirs.state_dict().keys()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        full = theirs(images)
    assert full.shape[-1] == 64
    with torch.no_grad():
        smaller = loaded.network(images)
    up = nn.functional.interpolate(smaller, scale_factor=4, mode="bilinear", align_corners=True)
    torch.testing.assert_close(up, full, rtol=1e-4, atol=1e-4)
    assert "has 4 classes, the data set 11" in refusal(hub_copy, classes=11)


def test_what_we_save_smp_reads_back(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.network.save_pretrained(tmp_path)
    assert equal(load(NETWORK, str(tmp_path), 4, key="student"), segmenter)
    theirs = smp.from_pretrained(str(tmp_path)).state_dict()
    assert all(torch.equal(theirs[k], v) for k, v in segmenter.network.state_dict().items())


def test_a_copy_of_another_hub_model(hub_copy: Path, tmp_path: Path) -> None:
    message = refusal(copy_of(hub_copy, tmp_path / "encoder", encoder_name="mit_b1"))
    assert (
        "is segformer on mit_b1, and the student is segformer on mit_b0; pass --set student.arch=" in message
    )
    message = refusal(copy_of(hub_copy, tmp_path / "arch", _model_class="FPN"))
    assert "--set student.arch=fpn --set student.encoder=mit_b0" in message
    message = refusal(copy_of(hub_copy, tmp_path / "depth", encoder_depth=4))
    assert (
        "was made with encoder_depth 4, and kd-deploy makes the student (segformer on mit_b0) with 5"
        in message
    )
    assert "made with model_class 'DPT'" in refusal(copy_of(hub_copy, tmp_path / "dpt", _model_class="DPT"))


def test_weights_that_fit_another_dilation_are_refused(tmp_path: Path) -> None:
    smp.DeepLabV3Plus(
        "mobilenet_v2", encoder_weights=None, encoder_output_stride=8, classes=4
    ).save_pretrained(tmp_path)
    network = Network(arch="deeplabv3plus", encoder="mobilenet_v2")
    with pytest.raises(
        UserError, match=r"was made with encoder_output_stride 8, and kd-deploy makes .* with 16"
    ):
        load(network, str(tmp_path), 4, key="teacher")


def test_a_folder_of_another_library(hub_copy: Path, tmp_path: Path) -> None:
    folder = copy_of(hub_copy, tmp_path / "copy")
    (folder / "config.json").write_text('{"architectures": ["SegformerForSemanticSegmentation"]}')
    with pytest.raises(
        UserError, match=r"config.json: describes no model of segmentation-models-pytorch; give"
    ):
        load(NETWORK, str(folder), 4, key="student")
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: cannot be read as JSON"):
        load(NETWORK, str(folder / "model.safetensors"), 4, key="student")


def test_a_hub_model_with_other_arguments(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smp, "from_pretrained", lambda name: build("segformer", "mit_b1", 4).network)
    assert "is segformer on mit_b1, and the student is segformer on mit_b0" in refusal("hub:org/net")
