"""The endless, shuffled, augmented stream of training samples, addressed by number.

Sample k is a pure function of the seed and k: a resumed run goes on with exactly the batches that a run
without a break would have seen, whatever the number of workers or processes.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from kd_deploy.config.schema import Augment, Train
from kd_deploy.data.dataset import Dataset
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.frames import IGNORE, Frame
from kd_deploy.signals import ignore_interrupt

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean in RGB: what a crop is padded with."""

Batch = tuple[Tensor, Tensor]
"""Pictures (B, 3, H, W) uint8 RGB and labels (B, H, W) uint8, 255 = ignored."""


class Sample(NamedTuple):
    """Sample `k` before its augmentation: a frame (H, W, 3) uint8 BGR and its label (H, W) uint8."""

    k: int
    frame: Tensor
    label: Tensor


class RandomScale(v2.Transform):  # type: ignore[misc]  # mypy skips torchvision
    """Resize picture and label by one random factor of the frame's own size, drawn evenly from `low` to `high`.

    v2.ScaleJitter scales to a size that all frames share, and takes it as (width, height).
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self._low, self._high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        factor = self._low + torch.rand(1) * (self._high - self._low)
        return {"size": [max(1, int(height * factor)), max(1, int(width * factor))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"], antialias=True)


def augmentation(augment: Augment, crop: tuple[int, int]) -> v2.Compose:
    """Random scale, crop (padding is ignored by every loss), flip and colour jitter, for frames of any size."""
    steps: list[torch.nn.Module] = []
    if augment.scale != (1.0, 1.0):
        steps.append(RandomScale(*augment.scale))
    fill = {tv_tensors.Image: MEAN_COLOR, tv_tensors.Mask: IGNORE}
    steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill=fill))
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip())
    if augment.color:
        steps.append(v2.ColorJitter(augment.color, augment.color, augment.color))
    return v2.Compose(steps)


class Stream(TorchDataset[Batch | Sample | UserError]):
    """Training sample k of a run: epoch k // n's shuffle, and an augmentation drawn for k alone.

    The loader's workers augment, or, with `raw`, `batch` does where the frames were brought: on the GPU.
    """

    def __init__(self, dataset: Dataset, train: Train, *, raw: bool = False) -> None:
        self._dataset = dataset
        self._seed = train.seed
        self._augment = augmentation(train.augment, train.crop)
        self.raw = raw

    def __getitem__(self, k: int) -> Batch | Sample | UserError:
        try:
            frame = self._frame(k)
        except UserError as error:
            return UserError(
                str(error)
            )  # `batch` raises it: of one raised in a worker torch makes a traceback
        if frame.label is None:
            raise ValueError(f"{frame.name}: training needs a label")
        # Copies: a frame may be read-only.
        sample = Sample(k, torch.tensor(frame.image), torch.tensor(frame.label))
        return sample if self.raw else self.augmented(sample)

    def augmented(self, sample: Sample) -> Batch:
        """Picture (3, h, w) RGB and label (h, w) of the crop, on the sample's device; drawn on the CPU for all."""
        image = tv_tensors.Image(torch.stack(sample.frame.unbind(2)[::-1]))
        label = tv_tensors.Mask(sample.label)
        with torch.random.fork_rng(devices=[]):
            seed = int(np.random.SeedSequence([self._seed, sample.k]).generate_state(1)[0])
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU's too
            image, label = self._augment(image, label)
        return image.as_subclass(Tensor), label.as_subclass(Tensor)

    def batch(self, loaded: Any) -> Batch:
        """The batch of what the loader gave: with `raw` a list of samples, else the batch itself.

        Raises:
            UserError: a frame cannot be read.
        """
        if isinstance(loaded, UserError):
            raise loaded
        if self.raw:
            loaded = map(torch.stack, zip(*map(self.augmented, loaded), strict=True))
        images, labels = loaded
        return images, labels

    def name(self, k: int) -> str:
        """What the frame of sample k is called: its path, where it has one."""
        return self._frame(k).name

    def _frame(self, k: int) -> Frame:
        epoch, position = divmod(k, len(self._dataset))
        return self._dataset[int(_shuffle(self._seed, epoch, len(self._dataset))[position])]


@lru_cache(maxsize=2)
def _shuffle(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def _collated(samples: list[Any], *, raw: bool) -> Any:
    """A loader's batch, or what is wrong with the first sample of it that cannot be read."""
    problems = (sample for sample in samples if isinstance(sample, UserError))
    return next(problems, None) or (
        samples if raw else default_collate(samples)
    )  # raw frames may differ in size


def loader(
    stream: Stream, train: Train, *, start: int, pin: bool = False
) -> DataLoader[Batch | Sample | UserError]:
    """What the stream's `batch` makes batches of, for iterations `start` to the end of the run."""
    return DataLoader(
        stream,
        batch_size=train.batch_size,
        sampler=range(start * train.batch_size, train.iterations * train.batch_size),
        collate_fn=partial(_collated, raw=stream.raw),
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
        worker_init_fn=ignore_interrupt,
        pin_memory=pin,  # for a GPU
        generator=torch.Generator(),  # else every loader takes a number from the one that dropout uses
    )
