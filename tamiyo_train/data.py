"""A task's samples as resident tensors, scaled, with the training set augmented in advance.

Augmentation costs an index: the nine one-pixel shifts of every training image are made once. Half of what a batch
draws is as it came.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.metrics import DEFAULT
from tamiyo_train.run import RunRecord
from tamiyo_train.tasks import Augmentation, Split, Task, stages
from tamiyo_train.tasks.files import read_task

_CENTRE = 4  # of the nine shifts, the one that moves nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Scaled inputs (N, *input) float32 and labels (N,) int64, or (N, T) with one a time step."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """All splits of a task, and its training inputs in every variant: (V, N, *input), V = 1 when it is not augmented.

    ``still``: which variant is the plain one. ``metric``: name of the task's own.
    """

    variants: torch.Tensor
    still: int
    train_y: torch.Tensor
    gate: Labelled
    score: Labelled
    validation: Labelled
    test: Labelled
    metric: str = DEFAULT

    def batch(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """``size`` training samples drawn with replacement, each plain with probability 1/2 + 1/(2V).

        Indices are drawn on the CPU wherever the samples are, so that a batch is the same on every device.
        """
        rows = torch.randint(len(self.train_y), (size,), generator=generator)
        if len(self.variants) == 1:
            return self.variants[0, rows], self.train_y[rows]
        drawn = torch.randint(len(self.variants), (size,), generator=generator)
        plain = torch.rand(size, generator=generator) < 0.5
        return self.variants[torch.where(plain, self.still, drawn), rows], self.train_y[rows]

    def to(self, device: torch.device | str) -> Tensors:
        """The same samples on another device."""

        def moved(split: Labelled) -> Labelled:
            return Labelled(x=split.x.to(device), y=split.y.to(device))

        return Tensors(
            variants=self.variants.to(device),
            still=self.still,
            train_y=self.train_y.to(device),
            gate=moved(self.gate),
            score=moved(self.score),
            validation=moved(self.validation),
            test=moved(self.test),
            metric=self.metric,
        )


def scaled(x: NDArray[np.float32], spec: InputSpec) -> torch.Tensor:
    """Raw samples as the network takes them."""
    return torch.from_numpy(((x - spec.offset) * spec.scale).astype(np.float32))


def labelled(split: Split, spec: InputSpec) -> Labelled:
    """A split as the network takes it."""
    return Labelled(x=scaled(split.x, spec), y=torch.from_numpy(split.y))


def tensors(task: Task) -> Tensors:
    """Make the task resident."""
    inputs = scaled(task.train.x, task.input)
    variants, still = _shifts(inputs) if task.augmentation is Augmentation.SHIFT else (inputs[None], 0)
    return Tensors(
        variants=variants,
        still=still,
        train_y=torch.from_numpy(task.train.y),
        gate=labelled(task.gate, task.input),
        score=labelled(task.score, task.input),
        validation=labelled(task.validation, task.input),
        test=labelled(task.test, task.input),
        metric=task.metric,
    )


def _shifts(images: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Images (N, C, H, W) under the nine shifts by at most one pixel, and which of them moves nothing."""
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1))
    return torch.stack([padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]), _CENTRE


@functools.cache
def task_of(name: str, data: str | None = None) -> Task:
    """The task of that name, or in the files at ``data`` whose format it is; loaded once a process.

    Raises UnknownNameError, or InputError for files that cannot be used.
    """
    return stages.get(name)() if data is None else read_task(name, Path(data))


@functools.cache
def data_of(name: str, data: str | None = None) -> Tensors:
    """The task's tensors, made once a process; they are never written to."""
    return tensors(task_of(name, data))


def task_of_run(record: RunRecord) -> Task:
    """The task of a run; raises InputError when its files are not those that it was trained on."""
    path = record.config.get("data")
    task = task_of(record.task, path)
    if path is not None and task.sha256() != record.task_sha256:
        raise InputError(f"{path} has changed since the run was trained on it", hint="put it back, or train again")
    return task
