"""From a recipe to everything that a training needs: data, networks, objective, device. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration

from kd_deploy.config.data import Data, SyntheticData
from kd_deploy.config.schema import Recipe, Train
from kd_deploy.config.terms import Schedule, Supervised
from kd_deploy.data.dataset import Dataset, open_dataset, verify
from kd_deploy.data.decoded import decoded
from kd_deploy.data.folders import FolderDataset
from kd_deploy.device import make_device
from kd_deploy.distill.objective import Objective
from kd_deploy.models.segmenter import Segmenter
from kd_deploy.models.weights import load, make
from kd_deploy.runtime.errors import UserError
from kd_deploy.training.verdict import in_main_process


@dataclass(frozen=True)
class Assembly:
    """The parts of one training.

    Attributes:
        recipe: with absolute paths: a run is read from other folders than it was started in.
        role: teacher or student, the one that is trained.
        datasets: train and val.
        segmenter: the network that is trained.
        teacher: the frozen one, or None where the labels alone teach.
    """

    recipe: Recipe
    role: str
    datasets: tuple[Dataset, Dataset]
    segmenter: Segmenter
    teacher: Segmenter | None
    objective: Objective
    accelerator: Accelerator

    @property
    def settings(self) -> Train:
        return self.recipe.training(self.role)


def assemble(recipe: Recipe, role: str, *, teacher: str | None, device: str) -> Assembly:
    """Everything that trains `role`, from the labels alone or, with a `teacher` (run, file or hub:ID), its terms.

    Raises:
        UserError: the data, a network or the wiring of the terms is wrong.
        MissingComponentError: cuda was asked for and is not there.
    """
    recipe = _with_absolute_paths(recipe)
    settings = recipe.training(role)
    accelerator = make_accelerator(device, settings)
    datasets = _dataset(recipe.data, "train", accelerator), _dataset(recipe.data, "val", accelerator)
    for dataset in datasets:
        verify(dataset)
    classes = len(datasets[0].classes)
    torch.manual_seed(settings.seed)
    segmenter = make(recipe.network(role), classes, key=role)
    guide = load(recipe.teacher, teacher, classes, key="teacher") if teacher else None
    _check_class_weights(recipe.supervised, datasets[0].classes)
    supervised, terms = recipe.supervised, recipe.distill
    if guide is None:  # a weight and a schedule of the recipe's play labels against teacher, and here is none
        supervised = supervised.model_copy(update={"weight": 1.0, "schedule": Schedule()})
        terms = []
    objective = Objective(
        supervised,
        terms,
        iterations=settings.iterations,
        student=segmenter.taps,
        teacher=guide.taps if guide else {},
    )
    return Assembly(recipe, role, datasets, segmenter, guide, objective, accelerator)


def _dataset(data: Data, split: str, accelerator: Accelerator) -> Dataset:
    """A split; where the recipe names a cache the main process writes it, and the others map what it wrote."""
    dataset = open_dataset(data, split)
    if isinstance(data, SyntheticData) or data.cache is None or not isinstance(dataset, FolderDataset):
        return dataset
    silent = not accelerator.is_main_process
    read = cache(partial(decoded, dataset, data, split, data.cache, silent=silent))
    in_main_process(accelerator, read)
    return read()


def _check_class_weights(supervised: Supervised, classes: Sequence[str]) -> None:
    given = supervised.class_weights
    if given is not None and len(given) != len(classes):
        raise UserError(
            f"supervised.class_weights: {len(given)} weights for {len(classes)} classes; give one for each, in this "
            f"order: {', '.join(classes)}"
        )


def _with_absolute_paths(recipe: Recipe) -> Recipe:
    if recipe.teacher.cache:
        teacher = recipe.teacher.model_copy(update={"cache": recipe.teacher.cache.resolve()})
        recipe = recipe.model_copy(update={"teacher": teacher})
    if isinstance(recipe.data, SyntheticData):
        return recipe
    paths = {"root": recipe.data.root.resolve(), "cache": recipe.data.cache and recipe.data.cache.resolve()}
    data = recipe.data.model_copy(update=paths)
    return recipe.model_copy(update={"data": data})


def make_accelerator(device: str, settings: Train) -> Accelerator:
    """Accelerate's device, precision and process group; `device` is auto, cpu or cuda.

    Raises:
        MissingComponentError: cuda was asked for and is not there.
        UserError: the device has no such precision, or the processes cannot share a batch.
    """
    asked = make_device(device)
    if asked.type == "cpu" and settings.precision == "fp16":
        raise UserError("train.precision: fp16 needs a GPU; on a CPU set it to bf16 or fp32")
    mixed = "no" if settings.precision == "fp32" else settings.precision
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives a run, and this one may differ
    # The batch size of a recipe is global: more processes share it, and the losses stay the same (but for
    # ohem and cirkd, which see their share alone, and batch norm on a CPU).
    shared = DataLoaderConfiguration(split_batches=True, non_blocking=True)
    accelerator = Accelerator(cpu=asked.type == "cpu", mixed_precision=mixed, dataloader_config=shared)
    if accelerator.device.type != asked.type:
        raise UserError(
            f"--device {device}: Accelerate took {accelerator.device.type} instead of {asked.type}; unset the "
            "ACCELERATE_* environment variables"
        )
    share, rest = divmod(settings.batch_size, accelerator.num_processes)
    if rest or share < 2:  # batch norm of a pooled branch needs two
        raise UserError(
            f"train.batch_size: {settings.batch_size} cannot be shared by {accelerator.num_processes} processes; "
            f"give a multiple of {accelerator.num_processes} that leaves each two pictures or more"
        )
    return accelerator
