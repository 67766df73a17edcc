"""The sample stream is a function of the seed and the sample's number, and of nothing else."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torchvision import tv_tensors
from torchvision.transforms import v2

from kd_deploy.config.schema import Augment, Train
from kd_deploy.data.camvid import CamVid
from kd_deploy.data.stream import MEAN_COLOR, RandomScale, Sample, Stream, loader
from kd_deploy.data.voc import Voc
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import Frame
from tests.conftest import write_camvid
from tests.kd_deploy.data.trees import write_voc

PLAIN = Augment(scale=(1.0, 1.0), flip=False, color=0.0)


def settings(**changes: object) -> Train:
    return Train.model_validate({"iterations": 8, "batch_size": 2, "crop": (48, 64), **changes})


def stream(camvid: Path, **changes: object) -> Stream:
    return Stream(CamVid(camvid, "train"), settings(**changes))


def test_a_sample_depends_on_seed_and_number_alone(camvid: Path) -> None:
    first, again = stream(camvid), stream(camvid)
    samples = [first[k] for k in range(9)]
    torch.manual_seed(1)
    for k in reversed(range(9)):
        image, label = again[k]
        assert torch.equal(image, samples[k][0])
        assert torch.equal(label, samples[k][1])
    assert not torch.equal(stream(camvid, seed=1)[0][0], samples[0][0])


def test_drawing_a_sample_leaves_the_global_generator_alone(camvid: Path) -> None:
    samples = stream(camvid)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    samples[0]
    assert torch.equal(torch.rand(3), expected)


def test_drawing_a_sample_leaves_the_gpus_generator_alone(
    camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    stream(camvid)[0]
    assert seeded == []


class Pressing(Stream):
    """Ctrl-C before every sample."""

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        signal.raise_signal(signal.SIGINT)
        return super().__getitem__(k)


def test_ctrl_c_does_not_reach_the_workers(camvid: Path) -> None:
    samples = Pressing(CamVid(camvid, "train"), settings())
    assert len(list(loader(samples, settings(workers=1), start=6))) == 2


def test_an_epoch_shows_every_frame_once_in_an_order_of_its_own(camvid: Path) -> None:
    samples = stream(camvid, augment=PLAIN, crop=(64, 96))
    frames = [CamVid(camvid, "train")[i].image for i in range(6)]

    def shown(k: int) -> int:
        bgr = samples[k][0].numpy().transpose(1, 2, 0)[..., ::-1]
        (index,) = (i for i, frame in enumerate(frames) if (frame == bgr).all())
        return index

    epochs = [[shown(6 * epoch + k) for k in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_the_same_frame_is_augmented_anew(tmp_path: Path) -> None:
    samples = stream(write_camvid(tmp_path / "camvid", train=1))
    assert len({samples[k][0].numpy().tobytes() for k in range(6)}) == 6


def test_picture_and_label_move_together() -> None:
    """A label drawn into the picture stays where the picture's own copy of it goes."""

    class Marked:
        classes, palette = ("a", "b"), np.zeros((2, 3), np.uint8)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Frame:
            label = np.zeros((64, 96), np.uint8)
            label[10:40, 8:30] = 1
            return Frame("marked", np.repeat(label[..., None] * 200, 3, axis=2), label)

    augment = Augment(scale=(0.5, 2.0), flip=True, color=0.0)
    samples = Stream(Marked(), settings(augment=augment, crop=(64, 96)))
    flipped = 0
    for k in range(12):
        image, label = samples[k]
        real = label != 255
        agree = ((image[0] > 100) == (label == 1))[real].float().mean()
        assert agree > 0.97  # bilinear against nearest differ on the outline
        flipped += int((label == 1).nonzero()[:, 1].float().mean() > 48) if (label == 1).any() else 0
    assert 0 < flipped < 12


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (33, 71)])
def test_the_random_scale_is_scale_jitters(size: tuple[int, int]) -> None:
    """Bit for bit, where all frames have one size; ScaleJitter takes it as (width, height)."""
    image = tv_tensors.Image(torch.randint(0, 256, (3, *size), dtype=torch.uint8))
    label = tv_tensors.Mask(torch.randint(0, 12, size, dtype=torch.uint8))
    before, after = v2.ScaleJitter(size[::-1], (0.5, 2.0), antialias=True), RandomScale(0.5, 2.0)
    for seed in range(20):
        results = []
        for transform in (before, after):
            torch.manual_seed(seed)
            results.append((*transform(image, label), torch.rand(1)))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_random_scale_is_of_each_frames_own_size() -> None:
    scale = RandomScale(0.5, 0.5)
    for size, scaled in (((64, 96), (32, 48)), ((80, 81), (40, 40)), ((1, 9), (1, 4))):
        assert scale(tv_tensors.Mask(torch.zeros(size, dtype=torch.uint8))).shape == scaled


def test_frames_of_any_size_give_samples_of_one(tmp_path: Path) -> None:
    samples = Stream(Voc(write_voc(tmp_path), "train"), settings(crop=(48, 48)))
    for k in range(12):
        image, label = samples[k]
        assert (image.shape, label.shape) == ((3, 48, 48), (48, 48))
        assert (label != 255).any()


def test_padding_of_a_crop_is_ignored(camvid: Path) -> None:
    image, label = stream(camvid, augment=PLAIN, crop=(128, 160))[0]
    assert image.shape == (3, 128, 160)
    assert label.shape == (128, 160)
    assert image.dtype == label.dtype == torch.uint8
    padding = (image == torch.tensor(MEAN_COLOR, dtype=torch.uint8)[:, None, None]).all(0)
    assert padding.sum() >= 128 * 160 - 64 * 96
    assert (label[padding] == 255).float().mean() > 0.99
    assert (label != 255).sum() == (CamVid(camvid, "train")[0].label != 255).sum()  # type: ignore[union-attr]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_stream_from_any_start(camvid: Path, workers: int, raw: bool) -> None:
    """Bit for bit, whether the loader's workers augment or what stands for the GPU here does."""
    samples, loaded = stream(camvid), Stream(CamVid(camvid, "train"), settings(), raw=raw)
    for start in (0, 5):
        batches = [loaded.batch(found) for found in loader(loaded, settings(workers=workers), start=start)]
        assert len(batches) == 8 - start
        for iteration, (images, labels) in enumerate(batches, start):
            for row in (0, 1):
                image, label = samples[2 * iteration + row]
                assert torch.equal(images[row], image)
                assert torch.equal(labels[row], label)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_frame_that_went_bad_is_named_in_one_line(own_camvid: Path, workers: int, raw: bool) -> None:
    """Also where a loader's worker met it."""
    loaded = Stream(CamVid(own_camvid, "train"), settings(), raw=raw)
    for mask in (own_camvid / "trainannot").iterdir():
        mask.write_bytes(mask.read_bytes()[:40])
    batch = next(iter(loader(loaded, settings(workers=workers), start=0)))
    with pytest.raises(UserError, match=r"^\S+/trainannot/\S+\.png: is truncated; .*$"):
        loaded.batch(batch)


def test_raw_frames_are_untouched_and_of_any_size(tmp_path: Path) -> None:
    dataset = Voc(write_voc(tmp_path), "train")
    samples = Stream(dataset, settings(crop=(48, 48)), raw=True)
    shapes = set()
    for found in loader(samples, settings(), start=0):
        for k, frame, label in found:
            known = next(f for f in (dataset[i] for i in range(4)) if f.name == samples.name(k))
            assert np.array_equal(frame, known.image)
            assert np.array_equal(label, known.label)  # type: ignore[arg-type]
            shapes.add(label.shape)
        images, labels = samples.batch(found)
        assert (images.shape, labels.shape) == ((2, 3, 48, 48), (2, 48, 48))
    assert len(shapes) == 3


@pytest.mark.parametrize("raw", [False, True])
def test_reading_batches_leaves_the_global_generator_alone(camvid: Path, raw: bool) -> None:
    """Else dropout would go another way after a resume, which reads the loader anew."""
    samples = Stream(CamVid(camvid, "train"), settings(), raw=raw)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(map(samples.batch, loader(samples, settings(), start=6)))
    assert torch.equal(torch.rand(3), expected)


class OnlyOnTheCpu(TorchFunctionMode):
    """Refuses random numbers that are drawn elsewhere: they would be other ones."""

    drawn = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.rand, torch.randint, torch.randperm, torch.Tensor.uniform_):
            self.drawn += 1
            assert result.device.type == "cpu"
        return result


def test_parameters_are_drawn_on_the_cpu_wherever_the_frame_is(camvid: Path) -> None:
    """On the meta device, which computes nothing: a frame there shows where each number comes from."""
    samples = Stream(CamVid(camvid, "train"), settings(), raw=True)
    k, frame, label = samples[0]
    with OnlyOnTheCpu() as draws:
        image, mask = samples.augmented(Sample(k, frame.to("meta"), label.to("meta")))
    assert draws.drawn >= 6  # scale, crop, flip, and the jitter's order and factors
    assert image.device.type == mask.device.type == "meta"
    assert (image.shape, mask.shape) == ((3, 48, 64), (48, 64))
