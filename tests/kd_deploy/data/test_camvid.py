"""CamVid on disk: what is read, and every way in which a folder can be wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from kd_deploy.data.camvid import CLASSES, CamVid
from kd_deploy.data.dataset import verify
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.segment import labels_to_size, to_size
from tests.conftest import draw


def refusal(root: Path, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        verify(CamVid(root, split))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frames_and_masks_are_paired_by_name(camvid: Path) -> None:
    dataset = CamVid(camvid, "val")
    assert len(dataset) == 4
    assert verify(dataset) == (64, 96)
    for number in range(4):
        frame, mask = draw(1000 + number, (64, 96))
        read = dataset[number]
        assert read.name == str(camvid / "val" / f"{number:03d}.jpg")
        assert read.label is not None
        assert np.abs(read.image.astype(int) - frame).mean() < 8
        known = mask != 11
        assert (read.label[known] == mask[known]).all()
        assert (read.label[~known] == 255).all()


def test_classes_and_palette_belong_together() -> None:
    assert len(CamVid.classes) == 11
    assert CamVid.palette.shape == (11, 3)
    assert CamVid.classes[3] == "road"
    assert tuple(CamVid.palette[3]) == CLASSES["road"] == (128, 64, 128)


def test_resizing_keeps_ids(camvid: Path) -> None:
    whole, small = CamVid(camvid, "train")[2], CamVid(camvid, "train", (32, 48))[2]
    assert small.image.shape == (32, 48, 3)
    assert small.label is not None
    assert whole.label is not None
    assert (small.label == labels_to_size(whole.label, (32, 48))).all()  # as the device resizes
    assert (small.image == to_size(whole.image, (32, 48))).all()
    assert set(np.unique(small.label)) <= set(np.unique(whole.label))


def test_missing_or_empty_folders(own_camvid: Path, tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert refusal(tmp_path / "nowhere").endswith("--set data.root=ROOT (or --data ROOT)")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty / "train") in refusal(empty)
    assert "empty)" in refusal(empty)
    assert "train, trainannot, val, valannot" in refusal(own_camvid, "test")  # what is there
    for file in (own_camvid / "val").iterdir():
        file.unlink()
    assert refusal(own_camvid, "val").startswith(f"{own_camvid / 'val'}: holds no pictures")


def test_a_frame_without_its_mask(own_camvid: Path) -> None:
    masks = own_camvid / "trainannot"
    (masks / "001.png").unlink()
    message = refusal(own_camvid)
    assert message.startswith(f"{own_camvid / 'train' / '001.jpg'}: lacks its mask {masks / '001.png'}; add")
    (masks / "004.png").unlink()
    assert refusal(own_camvid).endswith(
        "take the frame out (1 more are missing; `kd-deploy data check` lists them)"
    )


@pytest.mark.parametrize("name", ["train/003.jpg", "trainannot/003.png"])
@pytest.mark.parametrize("kept", [0.0, 0.4, 0.95])
def test_a_truncated_file(
    own_camvid: Path, name: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    file = own_camvid / name
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    assert refusal(own_camvid).startswith(f"{file}: {'is truncated' if kept else 'cannot be decoded'}")
    assert capfd.readouterr() == ("", "")  # the one line is ours alone


def test_a_mask_with_an_id_outside_the_classes(own_camvid: Path) -> None:
    file = own_camvid / "trainannot" / "002.png"
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    mask[20, 20] = 12
    cv2.imwrite(str(file), mask)
    assert refusal(own_camvid).startswith(
        f"{file}: holds the id 12 (1 pixels), which is no class; CamVid has 0 to 10"
    )


def test_a_mask_in_colours(own_camvid: Path) -> None:
    file = own_camvid / "trainannot" / "002.png"
    cv2.imwrite(str(file), np.zeros((64, 96, 3), np.uint8))
    assert refusal(own_camvid).startswith(f"{file}: is no label map (3 channels of uint8)")


def test_a_mask_of_another_size(own_camvid: Path) -> None:
    file = own_camvid / "trainannot" / "005.png"
    cv2.imwrite(str(file), np.zeros((32, 96), np.uint8))
    assert refusal(own_camvid).startswith(f"{file}: is 32x96, its frame 005.jpg is 64x96;")


def test_frames_of_different_sizes(own_camvid: Path) -> None:
    frame, mask = draw(1, (48, 64))
    cv2.imwrite(str(own_camvid / "train" / "004.jpg"), frame)
    cv2.imwrite(str(own_camvid / "trainannot" / "004.png"), mask)
    assert verify(CamVid(own_camvid, "train")) is None
    assert verify(CamVid(own_camvid, "val")) == (64, 96)
    assert verify(CamVid(own_camvid, "train", (64, 64))) == (64, 64)
