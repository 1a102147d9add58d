"""Splits by whom samples come from: a patient, a user or a recording is in one split and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_train.tasks.base import Split

SPLITS = ("train", "gate", "score", "test")
Groups = NDArray[np.int64]


def by_group(split: Split, groups: Groups, members: Mapping[str, Sequence[int]], *, noun: str) -> dict[str, Split]:
    """The four splits, each with the samples of its ``members``; ``groups`` (N,) says whose a sample is.

    ``noun``: what a group is called. Raises InputError when a group is in two splits or in none, or a split is empty.
    """
    check_apart(members, noun=noun)
    placed = {group for inside in members.values() for group in inside}
    left = sorted(set(np.unique(groups).tolist()) - placed)
    if left:
        raise InputError(f"{noun} {left[0]} is in no split", hint=f"every {noun} belongs to one of {', '.join(SPLITS)}")
    parts = {}
    for name in SPLITS:
        rows = np.flatnonzero(np.isin(groups, list(members[name])))
        if not len(rows):
            raise InputError(f"split '{name}' has no samples", hint=f"give it at least one {noun}")
        parts[name] = Split(x=split.x[rows], y=split.y[rows])
    return parts


def check_apart(members: Mapping[str, Sequence[int | str]], *, noun: str) -> None:
    """Raise InputError, naming both splits, when one of them shares a group with another."""
    home: dict[int | str, str] = {}
    for name, inside in members.items():
        for group in inside:
            if home.setdefault(group, name) != name:
                raise InputError(
                    f"{noun} {group} is in split '{home[group]}' and in split '{name}'",
                    hint=f"a network would be tested on whom it was trained on: put each {noun} on one side",
                )


def dealt(groups: Sequence[int], shares: Mapping[str, float], *, noun: str, seed: int) -> dict[str, list[int]]:
    """Groups dealt out to the splits at random, about as many as ``shares`` say, at least one each.

    Raises InputError when there are fewer groups than splits.
    """
    if len(groups) < len(SPLITS):
        raise InputError(
            f"{len(groups)} {noun}s are too few to split: there are {len(SPLITS)} splits ({', '.join(SPLITS)})",
            hint=f"a {noun} must not be in two of them; record more {noun}s",
        )
    shuffled = np.random.default_rng(seed).permutation(np.array(sorted(groups))).tolist()
    counts = {name: max(1, round(shares[name] * len(shuffled))) for name in SPLITS[1:]}
    while sum(counts.values()) >= len(shuffled):  # training keeps one
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] -= 1
    members, at = {}, 0
    for name, count in counts.items():
        members[name] = sorted(shuffled[at : at + count])
        at += count
    return {"train": sorted(shuffled[at:]), **members}
