"""The RUN directory: what a training run leaves behind, and how the other commands read it."""

from __future__ import annotations

import io
import json
import os
import pickle
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_deploy.config.load import dump_recipe, load_recipe
from kd_deploy.config.schema import Network, Recipe, Train
from kd_deploy.models.weights import ROLE_WEIGHTS, write_weights
from kd_deploy.runtime.errors import UserError
from kd_deploy.runtime.files import (
    atomic_file,
    cannot_write,
    is_temporary,
    no_number,
    remove_temporaries,
    write_json,
)


@dataclass(frozen=True)
class Run:
    """A run's folder, its recipe, the role of the network that it trains, and its teacher's source."""

    path: Path
    recipe: Recipe
    role: str
    teacher: str | None

    @classmethod
    def create(cls, path: Path, recipe: Recipe, role: str, *, teacher: str | None, resume: bool) -> Run:
        """Claim the folder for a new run, or, with `resume`, go on with the run that is in it.

        Raises:
            UserError: the folder is taken, or holds a run of another recipe.
        """
        run = cls(path, recipe, role, teacher)
        try:
            run._claim(resume)
        except OSError as error:
            raise cannot_write(path, error) from error
        return run

    def _claim(self, resume: bool) -> None:
        path = self.path
        if resume and path.is_dir() and not self._is_blank():
            self.open(path)._check_same(self)
            self._remove_temporaries()
        elif path.exists() and not (path.is_dir() and (resume or not any(path.iterdir()))):
            raise UserError(f"{path}: exists already; --resume goes on with a run, or choose another name")
        else:
            self._remove_temporaries()
            self._write_identity()

    def _remove_temporaries(self) -> None:
        """Remove what a kill left half written."""
        for folder in (self.path, self.path / "checkpoints"):
            remove_temporaries(folder)

    def _is_blank(self) -> bool:
        """Whether the folder holds no more than a kill leaves of `_write_identity`, which ends with run.json."""
        recipe = self.path / "recipe.yaml"
        held = [path for path in self.path.iterdir() if not is_temporary(path)]
        return not held or (held == [recipe] and recipe.read_bytes() == dump_recipe(self.recipe).encode())

    def _write_identity(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path / "recipe.yaml", durable=True) as temporary:
            temporary.write_text(dump_recipe(self.recipe), encoding="utf-8")
        write_json(self.path / "run.json", {"role": self.role, "teacher": self.teacher}, durable=True)

    def _check_same(self, other: Run) -> None:
        mine, its = (
            [f"role: {run.role}", f"teacher: {run.teacher}", *dump_recipe(run.recipe).splitlines(), ""]
            for run in (self, other)
        )
        for a, b in zip(mine, its, strict=False):
            if a != b:
                raise UserError(
                    f"{self.path}: --resume needs the run's own recipe; the run has {a.strip()!r}, the command "
                    f"{b.strip()!r}; give {self.path / 'recipe.yaml'} as the recipe"
                )

    @classmethod
    def open(cls, path: Path) -> Run:
        """Read a run's recipe and role.

        Raises:
            UserError: no run there.
        """
        try:
            facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
            role, teacher = facts["role"], facts["teacher"]
            ROLE_WEIGHTS[role]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{path}: is no run; kd-deploy train or kd-deploy distill makes one with -o {shlex.quote(str(path))}"
            ) from error
        return cls(path, load_recipe(str(path / "recipe.yaml")), role, teacher)

    @property
    def network(self) -> Network:
        """The recipe's section of the network that is trained."""
        return self.recipe.network(self.role)

    @property
    def train(self) -> Train:
        """How that network is trained."""
        return self.recipe.training(self.role)

    @property
    def weights(self) -> Path:
        return self.path / ROLE_WEIGHTS[self.role]

    def save_weights(self, state: dict[str, Tensor]) -> None:
        with atomic_file(self.weights, durable=True) as temporary:
            write_weights(state, temporary)

    def save_checkpoint(self, name: str, state: dict[str, Any]) -> None:
        """Write checkpoints/NAME.pt: one file, so that replacing it is one atomic step."""
        buffer = io.BytesIO()  # torch.save to a full disk raises no OSError
        torch.save(state, buffer)
        with atomic_file(self.path / "checkpoints" / f"{name}.pt", durable=True) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load_checkpoint(self, name: str) -> dict[str, Any] | None:
        """The state saved as NAME, or None where the run has not come so far.

        Raises:
            UserError: the file is damaged.
        """
        file = self.path / "checkpoints" / f"{name}.pt"
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(f"{file}: is damaged; copy the run again, or remove it and start anew") from error
        return state

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl; it is on the disk before the checkpoint that relies on it."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.metrics, error) from error

    def records(self) -> Iterator[dict[str, Any]]:
        """metrics.jsonl's lines, in order."""
        if self.metrics.exists():
            for line in self.metrics.read_text(encoding="utf-8").splitlines():
                yield json.loads(line)

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that a killed run logged but did not save; resuming does them again."""
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []
        kept = [line for line in lines if _step(line) <= step]
        with atomic_file(self.metrics, durable=True) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").exists()

    def summary(self) -> dict[str, Any]:
        """summary.json.

        Raises:
            UserError: the run is not finished, or the file is damaged.
        """
        if not self.finished:
            raise UserError(f"{self.path}: the run is not finished; go on with --resume")
        file = self.path / "summary.json"
        try:
            return dict(json.loads(file.read_text(encoding="utf-8"), parse_constant=no_number))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{file}: is damaged ({error}); copy the run again, or train it anew") from error


def _step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # a line cut off by a kill
