"""The policy beside `gromo`: accuracy at the same limits, training MACs, and hypervolumes of accuracy-cost fronts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.growth_statistics import compare
from benchmarks.growth_table import NOT_INFERIOR, Table, mean

FAR = 40.0
"""MACs over the bare host's at which a front is worth nothing."""
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


def beside_gromo(table: Table, path: Path) -> dict[str, Any]:
    """Pair every policy episode with the largest network of gromo's, same task and seed, that fits its limits.

    Episodes in which none fits are counted and left out. Fronts are of all networks on a task and seed: the policy's of
    its drawn budgets, gromo's of its sizes.
    """
    peers: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        peers.setdefault((row["family"], row["level"], row["seed"]), []).append(row)
    accuracy: list[float] = []
    training: list[float] = []
    strata: list[int] = []
    unmatched, volumes = 0, {}
    for number, family in enumerate(table.strata):
        ratios = []
        groups: dict[tuple[int, int], list[int]] = {}
        seeds = list(table.each_seed("policy", family))
        tasks, inits = seeds[0]["task"].astype(int), seeds[0]["init"].astype(int)
        for index, key in enumerate(zip(tasks.tolist(), inits.tolist(), strict=True)):
            groups.setdefault(key, []).append(index)
        for (task, init), members in groups.items():
            rivals = peers.get((family, task, init))
            if rivals is None:
                continue
            ratios.append([_volume(own, members) / _peer_volume(rivals, seeds[0], members) for own in seeds])
            for index in members:
                rival = _fitting(rivals, seeds[0]["params_limit"][index], seeds[0]["macs_limit"][index])
                if rival is None:
                    unmatched += 1
                    continue
                accuracy.append(float(np.mean([own["test_accuracy"][index] for own in seeds])) - rival["accuracy"])
                ours = float(np.mean([own["training_macs"][index] for own in seeds]))
                training.append(float(np.log(ours / rival["training_macs"])))
                strata.append(1000 * number + task)
        if ratios:
            volumes[family] = float(np.mean(ratios))
    if not accuracy:
        return {}
    where = np.asarray(strata, np.int64)
    gained = compare(np.asarray(accuracy), where, statistic=mean)
    spent = compare(np.asarray(training), where, statistic=mean)
    front = sum(v >= 1 for v in volumes.values()) >= LEAST_FAMILIES and min(volumes.values()) >= LEAST_SHARE
    return {
        "episodes": len(accuracy),
        "unmatched": unmatched,
        "test_accuracy": gained.to_json(),
        "ln_training_macs": spent.to_json(),
        "hypervolume_over_gromo": volumes,
        "passes": {
            "not inferior to gromo": gained.low > NOT_INFERIOR,
            "fewer training MACs or a better front than gromo": spent.high < 0 or front,
        },
    }


def _volume(own: dict[str, Values], members: Sequence[int]) -> float:
    points = [(1 - own["test_accuracy"][index], own["macs"][index]) for index in members]
    return hypervolume(points, error=1.0, macs=FAR * own["host_macs"][members[0]])


def _peer_volume(rivals: Sequence[dict[str, Any]], own: dict[str, Values], members: Sequence[int]) -> float:
    points = [(1 - row["accuracy"], row["macs"]) for row in rivals]
    return hypervolume(points, error=1.0, macs=FAR * own["host_macs"][members[0]])


def _fitting(rivals: Sequence[dict[str, Any]], params: float, macs: float) -> dict[str, Any] | None:
    fits = [row for row in rivals if row["params"] <= params and row["macs"] <= macs]
    return max(fits, key=lambda row: row["params"]) if fits else None
