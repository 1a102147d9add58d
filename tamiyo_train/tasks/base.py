"""What a task is: named classes, an input specification, and fixed splits of raw samples that were checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.metrics import DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Raw samples ``x``: (N, *input.shape) float32 and labels ``y`` int64: (N,), or (N, T) with one a time step."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


class Augmentation(StrEnum):
    """What may be done to training samples without changing their class."""

    NONE = "none"
    SHIFT = "shift"
    """images moved by one pixel"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A classification task with fixed splits.

    Validation has two halves that never mix: ``gate`` decides whether a seed may stay, ``score`` prices the outcome of
    an episode, so that the policy is not rewarded for what its gates were fitted to. ``test`` is reported, never used.
    ``metric``: name of what a network is judged by in the end, see `tamiyo_train.metrics`; growing looks at accuracy.
    """

    name: str
    classes: tuple[str, ...]
    input: InputSpec
    train: Split
    gate: Split
    score: Split
    test: Split
    augmentation: Augmentation = Augmentation.NONE
    metric: str = DEFAULT

    @property
    def validation(self) -> Split:
        """Both halves of the validation split."""
        return Split(x=np.concatenate([self.gate.x, self.score.x]), y=np.concatenate([self.gate.y, self.score.y]))

    def splits(self) -> Mapping[str, Split]:
        """The four disjoint splits by name."""
        return {"train": self.train, "gate": self.gate, "score": self.score, "test": self.test}

    def sha256(self) -> str:
        """Hash of all samples and labels, so that a run can say what it was trained on."""
        digest = hashlib.sha256()
        for name, split in self.splits().items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(split.x).tobytes())
            digest.update(np.ascontiguousarray(split.y).tobytes())
        return digest.hexdigest()


stages: Registry[Callable[[], Task]] = Registry("stages", noun="task")


def check_samples(x: NDArray[np.generic], y: NDArray[np.generic], *, spec: InputSpec, classes: int) -> None:
    """Refuse data a network would learn nonsense from; raises InputError saying what and where."""
    if x.ndim != len(spec.shape) + 1 or x.shape[1:] != spec.shape:
        raise InputError(
            f"samples have shape {x.shape}, expected (N, {', '.join(map(str, spec.shape))})",
            hint=f"the layout is N{spec.layout}",
        )
    each_step = len(spec.shape) == 2 and y.shape == (len(x), spec.shape[1])
    if y.shape != (len(x),) and not each_step:
        raise InputError(
            f"{len(x)} samples but labels of shape {y.shape}", hint="one integer label a sample, or one a time step"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"labels are {y.dtype}, expected integers", hint="labels are class numbers, 0 the first")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{int((~finite).sum())} samples hold NaN or infinity, the first is number {int(np.argmin(finite))}",
            hint="drop or repair them before training",
        )
    if len(x) and (x.min() < spec.raw_low or x.max() > spec.raw_high):
        raise InputError(
            f"values lie in [{x.min()}, {x.max()}], expected [{spec.raw_low}, {spec.raw_high}]",
            hint="samples are raw: scaling is part of the input specification",
        )
    if len(y) and (y.min() < 0 or y.max() >= classes):
        raise InputError(f"labels lie in [{y.min()}, {y.max()}], expected 0..{classes - 1}")
    missing = sorted(set(range(classes)) - set(np.unique(y).tolist()))
    if missing:
        raise InputError(f"no sample of class {missing[0]}", hint="every class must be present to split by class")


def stratified(y: NDArray[np.int64], shares: tuple[float, ...], *, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Indices of disjoint parts with the given shares of every class, each part in ascending order.

    Shares sum to 1; within a class, part k ends at round(n * (shares[0] + ... + shares[k])). Raises InputError when a
    class has too few samples for every part to get one.
    """
    ends = np.cumsum(shares)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in shares]
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        cuts = np.rint(ends[:-1] * len(members)).astype(int)
        for part, chunk in zip(parts, np.split(members, cuts), strict=True):
            if not len(chunk):
                raise InputError(
                    f"class {label} has {len(members)} samples, too few for {len(shares)} parts",
                    hint="add samples of that class",
                )
            part.append(chunk)
    return [np.sort(np.concatenate(part)) for part in parts]
