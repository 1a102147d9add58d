"""A task's samples as resident tensors, scaled, with the training set shifted in advance.

Augmentation costs an index: the nine one-pixel shifts of every training image are made once. Half of what a batch
draws is unshifted.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_train.tasks import Split, Task, stages

_CENTRE = 4
SHIFTS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Scaled inputs (N, C, H, W) float32 and labels (N,) int64."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """All splits of a task. ``shifted``: (9, N, C, H, W), the training inputs under every shift, number 4 unshifted."""

    shifted: torch.Tensor
    train_y: torch.Tensor
    gate: Labelled
    score: Labelled
    validation: Labelled
    test: Labelled

    def batch(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """``size`` training samples drawn with replacement, each unshifted with probability 1/2 + 1/18."""
        rows = torch.randint(len(self.train_y), (size,), generator=generator)
        shifts = torch.randint(SHIFTS, (size,), generator=generator)
        still = torch.rand(size, generator=generator) < 0.5
        return self.shifted[torch.where(still, _CENTRE, shifts), rows], self.train_y[rows]


def scaled(x: NDArray[np.float32], spec: InputSpec) -> torch.Tensor:
    """Raw samples as the network takes them."""
    return torch.from_numpy(((x - spec.offset) * spec.scale).astype(np.float32))


def tensors(task: Task) -> Tensors:
    """Make the task resident."""

    def labelled(split: Split) -> Labelled:
        return Labelled(x=scaled(split.x, task.input), y=torch.from_numpy(split.y))

    inputs = scaled(task.train.x, task.input)
    height, width = inputs.shape[2:]
    padded = F.pad(inputs, (1, 1, 1, 1))
    shifted = torch.stack([padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)])
    return Tensors(
        shifted=shifted,
        train_y=torch.from_numpy(task.train.y),
        gate=labelled(task.gate),
        score=labelled(task.score),
        validation=labelled(task.validation),
        test=labelled(task.test),
    )


@functools.cache
def task_of(name: str) -> Task:
    """The task of that name, loaded once a process; raises UnknownNameError."""
    return stages.get(name)()


@functools.cache
def data_of(name: str) -> Tensors:
    """The task's tensors, made once a process; they are never written to."""
    return tensors(task_of(name))
