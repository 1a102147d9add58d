"""What a format of data files is, how one is told from another, and what they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_train.metrics import DEFAULT
from tamiyo_train.tasks.base import Split, Task, check_samples
from tamiyo_train.tasks.grouped import by_group, dealt

LIMIT_BYTES = 2 << 30
SHARES: Mapping[str, float] = {"train": 0.6, "gate": 0.1, "score": 0.1, "test": 0.2}
SEED = 77
"""Of every split that files leave to us: the same files are always split in the same way."""
_DEALS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """``looks_like``: whether a file or folder could be one, from its names alone; ``read`` raises InputError."""

    name: str
    what: str
    looks_like: Callable[[Path], bool]
    read: Callable[[Path], Task]


formats: Registry[Format] = Registry("formats")


def format_of(path: Path) -> str:
    """Name of the format of a file or folder; raises InputError when it is missing or like none."""
    if not path.exists():
        raise InputError(f"data not found: {path}", hint="check the path given as --data")
    for name, item in formats:
        if item.looks_like(path):
            return name
    known = "; ".join(f"{name}: {item.what}" for name, item in formats)
    raise InputError(f"{path} is like no data that can be read", hint=known)


def read_task(name: str, path: Path) -> Task:
    """The task in a user's files; raises UnknownNameError, or InputError naming the file and the place."""
    if name not in formats:
        raise UnknownNameError("format of data", name, formats.names())
    item = formats.get(name)
    if not path.exists():
        raise InputError(f"data not found: {path}", hint="check the path given as --data")
    if not item.looks_like(path):
        raise InputError(f"{path} holds no data of format '{name}'", hint=f"expected {item.what}")
    return item.read(path)


def task_by_group(
    name: str,
    path: Path,
    samples: Split,
    owners: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    spec: InputSpec,
    noun: str,
    members: Mapping[str, list[int]] | None = None,
    metric: str = DEFAULT,
) -> Task:
    """A task whose splits share no owner: as ``members`` say, or dealt so that every split has every class.

    Raises InputError naming ``path`` when there is one class only, one is with too few owners, or samples are unfit.
    """
    try:
        check_classes(samples.y, classes)
        check_samples(samples.x, samples.y, spec=spec, classes=len(classes))
        given = members or _deal(samples.y, owners, classes, noun=noun)
        parts = by_group(samples, owners, given, noun=noun)
        _check_all_there(parts, classes, noun=noun)
    except InputError as exc:
        raise InputError(f"{path}: {exc.message}", hint=exc.hint) from exc
    return Task(
        name=name,
        classes=classes,
        input=spec,
        metric=metric,
        train=parts["train"],
        gate=parts["gate"],
        score=parts["score"],
        test=parts["test"],
    )


def check_classes(y: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Raise InputError when there is nothing to tell apart."""
    present = np.unique(y)
    if len(present) < 2:
        found = f"one class only, '{classes[int(present[0])]}'" if len(present) else "no sample"
        raise InputError(f"there is {found}", hint="learning to tell classes apart needs two or more")


def _check_all_there(parts: Mapping[str, Split], classes: tuple[str, ...], *, noun: str) -> None:
    for split, part in parts.items():
        absent = sorted(set(range(len(classes))) - set(part.y.tolist()))
        if absent:
            raise InputError(
                f"split '{split}' has no sample of class '{classes[absent[0]]}'", hint=f"give it a {noun} who has some"
            )


def _deal(
    y: NDArray[np.int64], owners: NDArray[np.int64], classes: tuple[str, ...], *, noun: str
) -> dict[str, list[int]]:
    everybody = np.unique(owners).tolist()
    needed = set(range(len(classes)))
    has = {owner: set(y[owners == owner].tolist()) for owner in everybody}
    for attempt in range(_DEALS):
        members = dealt(everybody, SHARES, noun=noun, seed=SEED + attempt)
        if all(set().union(*(has[owner] for owner in inside)) == needed for inside in members.values()):
            return members
    rarest = min(needed, key=lambda label: sum(label in found for found in has.values()))
    count = sum(rarest in found for found in has.values())
    raise InputError(
        f"class '{classes[rarest]}' is with {count} of {len(everybody)} {noun}s: it cannot be in all 4 splits",
        hint=f"say which {noun} goes where, or leave that class out",
    )


def spec_for(x: NDArray[np.float32], layout: str) -> InputSpec:
    """An input specification for samples as they are: a range that is symmetric and a round number.

    Values are scaled to at most 1 in size. Raises InputError when a sample is not finite.
    """
    flaw = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))
    if len(flaw):
        raise InputError(f"sample number {int(flaw[0])} holds NaN or infinity", hint="drop or repair it")
    largest = max(float(np.abs(x).max()), 1e-6) if x.size else 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    bound = next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= largest)
    return InputSpec(shape=x.shape[1:], layout=layout, offset=0.0, scale=1 / bound, raw_low=-bound, raw_high=bound)


def renumbered(y: NDArray[np.int64], classes: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels and names of the classes that are there, numbered from 0 in the old order."""
    present = np.unique(y)
    return np.searchsorted(present, y).astype(np.int64), tuple(classes[label] for label in present)
