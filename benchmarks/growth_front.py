"""The policy beside its static twins and `gromo`: accuracy at equal cost, and hypervolumes of accuracy-cost fronts.

A front is of all networks on a task and seed of weights: the policy's and the twins' of six drawn budgets, gromo's of
its sizes. Its cost is what the network takes, or what training it took, either of them over the bare host's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.growth_statistics import compare, mean
from benchmarks.growth_table import NOT_INFERIOR, Table

FAR = 40.0
"""Cost over the bare host's at which a front is worth nothing."""
COSTS = {"macs": "hypervolume", "training_macs": "training_hypervolume"}
"""Columns that can be the cost of a front, and what its hypervolume is called."""
LEAST_SHARE, LEAST_FAMILIES = 0.95, 4
Values = NDArray[np.float64]
Point = tuple[float, float]


def hypervolume(points: Iterable[Point], *, error: float, macs: float) -> float:
    """Area in (error, ln MACs) that points dominate below a reference; a point beyond it counts for nothing."""
    best, area = error, 0.0
    ordered = sorted((m, e) for e, m in points if e < error and m < macs)
    for m, e in ordered:
        if e < best:
            area += (best - e) * float(np.log(macs / m))
            best = e
    return area


def beside_twin(table: Table, *, ours: str = "policy", theirs: str = "twin") -> dict[str, Any]:
    """Hypervolumes over those of the static twins, and test accuracy over a twin's of no more training.

    That twin is the one with the most training MACs that are not above the policy's, on the same task and seed and
    whatever its budget; where every twin trains more, the play of that policy seed is counted and left out.
    """
    volumes: dict[str, dict[str, float]] = {name: {} for name in COSTS.values()}
    gained: list[float] = []
    strata: list[int] = []
    unmatched = 0
    for number, family in enumerate(table.strata):
        pairs = list(zip(table.each_seed(ours, family), table.each_seed(theirs, family), strict=True))
        groups = _groups(pairs[0][0])
        for cost, name in COSTS.items():
            ratios = [_ratio(own, twin, members, cost) for members in groups.values() for own, twin in pairs]
            volumes[name][family] = float(np.mean(ratios))
        for (task, _), members in groups.items():
            for index in members:
                rivals = [_within(twin, members, own["training_macs"][index]) for own, twin in pairs]
                over = [
                    own["test_accuracy"][index] - twin["test_accuracy"][rival]
                    for (own, twin), rival in zip(pairs, rivals, strict=True)
                    if rival is not None
                ]
                unmatched += rivals.count(None)
                if over:
                    gained.append(float(np.mean(over)))
                    strata.append(1000 * number + task)
    equal = compare(np.asarray(gained), np.asarray(strata, np.int64), statistic=mean) if gained else None
    return {
        **{f"{name}_over_twin": found for name, found in volumes.items()},
        "test_accuracy_at_equal_training": equal and equal.to_json(),
        "episodes_at_equal_training": len(gained),
        "unmatched": unmatched,
    }


def beside_gromo(table: Table, path: Path) -> dict[str, Any]:
    """Pair every policy episode with the largest network of gromo's, same task and seed, that fits its limits.

    Episodes in which none fits are counted and left out.
    """
    peers: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        peers.setdefault((row["family"], row["level"], row["seed"]), []).append(row)
    accuracy: list[float] = []
    training: list[float] = []
    strata: list[int] = []
    unmatched = 0
    volumes: dict[str, dict[str, float]] = {name: {} for name in COSTS.values()}
    for number, family in enumerate(table.strata):
        ratios: dict[str, list[float]] = {name: [] for name in COSTS.values()}
        seeds = list(table.each_seed("policy", family))
        for (task, init), members in _groups(seeds[0]).items():
            rivals = peers.get((family, task, init))
            if rivals is None:
                continue
            for cost, name in COSTS.items():
                far = _far(seeds[0], members, cost)
                other = hypervolume([(1 - row["accuracy"], row[cost]) for row in rivals], error=1.0, macs=far)
                ratios[name].append(float(np.mean([_volume(own, members, cost, far) / other for own in seeds])))
            for index in members:
                rival = _fitting(rivals, seeds[0]["params_limit"][index], seeds[0]["macs_limit"][index])
                if rival is None:
                    unmatched += 1
                    continue
                accuracy.append(float(np.mean([own["test_accuracy"][index] for own in seeds])) - rival["accuracy"])
                ours = float(np.mean([own["training_macs"][index] for own in seeds]))
                training.append(float(np.log(ours / rival["training_macs"])))
                strata.append(1000 * number + task)
        for name, found in ratios.items():
            if found:
                volumes[name][family] = float(np.mean(found))
    if not accuracy:
        return {}
    where = np.asarray(strata, np.int64)
    gained = compare(np.asarray(accuracy), where, statistic=mean)
    spent = compare(np.asarray(training), where, statistic=mean)
    shares = volumes["hypervolume"].values()
    front = sum(share >= 1 for share in shares) >= LEAST_FAMILIES and min(shares) >= LEAST_SHARE
    return {
        "episodes": len(accuracy),
        "unmatched": unmatched,
        "test_accuracy": gained.to_json(),
        "ln_training_macs": spent.to_json(),
        **{f"{name}_over_gromo": found for name, found in volumes.items()},
        "passes": {
            "not inferior to gromo": gained.low > NOT_INFERIOR,
            "fewer training MACs or a better front than gromo": spent.high < 0 or front,
        },
    }


def _groups(own: Mapping[str, Values]) -> dict[tuple[int, int], list[int]]:
    """Episodes by task and seed of weights."""
    found: dict[tuple[int, int], list[int]] = {}
    keys = zip(own["task"].astype(int).tolist(), own["init"].astype(int).tolist(), strict=True)
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return found


def _far(own: Mapping[str, Values], members: Sequence[int], cost: str) -> float:
    """The reference of a front in (error, ln cost)."""
    first = members[0]
    if cost == "macs":
        return FAR * float(own["host_macs"][first])
    return FAR * float(own["training_macs"][first] / own["training_ratio"][first])


def _ratio(own: Mapping[str, Values], twin: Mapping[str, Values], members: Sequence[int], cost: str) -> float:
    far = _far(twin, members, cost)
    return _volume(own, members, cost, far) / _volume(twin, members, cost, far)


def _volume(own: Mapping[str, Values], members: Sequence[int], cost: str, far: float) -> float:
    points = [(1 - own["test_accuracy"][index], own[cost][index]) for index in members]
    return hypervolume(points, error=1.0, macs=far)


def _fitting(rivals: Sequence[dict[str, Any]], params: float, macs: float) -> dict[str, Any] | None:
    fits = [row for row in rivals if row["params"] <= params and row["macs"] <= macs]
    return max(fits, key=lambda row: row["params"]) if fits else None


def _within(twin: Mapping[str, Values], members: Sequence[int], training: float) -> int | None:
    fits = [index for index in members if twin["training_macs"][index] <= training]
    return max(fits, key=lambda index: twin["training_macs"][index]) if fits else None
