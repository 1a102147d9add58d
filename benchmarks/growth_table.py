"""The table of `bench_growth_policy`: what every method came to on held-out episodes, and the paired comparisons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.growth_statistics import Comparison, ahead, compare, holm, interquartile_mean, mean

NOT_INFERIOR = -0.005
"""Test accuracy that a twin or a peer may be ahead, fraction."""
MAIN = ("tuned", "kasmina", "matched", "random", "bandit")
"""Comparisons that Holm's correction is over."""
ORDER = (
    *("none", "random", "matched", "bandit", "twin", "thrifty-twin", "kasmina", "tuned"),
    *("tutor", "cloned", "ppo", "thrifty", "policy", "oracle"),
)
RELIABILITY = ("ece", "share", "skill")
"""Figures of `growth_calibration.reliability` that are averaged over policy seeds."""
Values = NDArray[np.float64]
_COLUMNS = ("utility", "accuracy", "test_accuracy", "params", "macs", "training_ratio", "events", "seeds", "violations")


class Table:
    """Plays by method, policy seed and family; every method played the same episodes in the same order."""

    def __init__(self, *folders: Path) -> None:
        self._rows: dict[str, dict[int | None, dict[str, dict[str, Values]]]] = {}
        for path in sorted(path for plays in folders for path in plays.glob("*.npz")):
            name, _, number = path.stem.rpartition("-")
            method, seed = (name, int(number)) if number.isdigit() else (path.stem, None)
            self._rows.setdefault(method, {})[seed] = _families(path)
        known = [name for name in ORDER if name in self._rows]
        self._rows = {name: self._rows[name] for name in (*known, *sorted(set(self._rows) - set(known)))}
        first = next(iter(next(iter(self._rows.values())).values()))
        self.strata = {family: columns["task"].astype(np.int64) for family, columns in first.items()}
        self._calibration = [
            json.loads(path.read_text()) for plays in folders for path in sorted(plays.glob("calibration-*.json"))
        ]

    def figures(self) -> dict[str, Any]:
        """Everything as plain data."""
        families = list(self.strata)
        methods = {
            method: {
                **{name: float(self.mean(method, name).mean()) for name in _COLUMNS},
                "test_accuracy_by_family": {f: float(self.of(method, "test_accuracy", f).mean()) for f in families},
                "utility_by_family": {f: float(self.of(method, "utility", f).mean()) for f in families},
                "utility_by_seed": self._by_seed(method),
                "policy_seeds": len(self._rows[method]),
            }
            for method in self._rows
        }
        comparisons = self._comparisons()
        return {
            "episodes": len(self.mean("none", "utility")),
            "methods": methods,
            "comparisons": {name: own.to_json() for name, own in comparisons.items()},
            "over_tuned_by_family": self._over_tuned_by_family(),
            "over_tuned_by_seed": self._over_tuned_by_seed(),
            "over_tuned_by_level": self._over_tuned_by_level(),
            "over_tuned_host_by_host": self._over_tuned_host_by_host(),
            "episodes_over": {name: ahead(self.difference(name)) for name in MAIN},
            "passes": self._verdicts(comparisons),
            "calibration": _averaged(self._calibration),
        }

    def has(self, method: str) -> bool:
        """Whether it was played."""
        return method in self._rows

    def of(self, method: str, column: str, family: str) -> Values:
        """Of every episode of a family, the mean over policy seeds."""
        return np.asarray(np.mean([own[family][column] for own in self._rows[method].values()], axis=0))

    def mean(self, method: str, column: str) -> Values:
        """Of every episode, the mean over policy seeds."""
        return np.concatenate([self.of(method, column, family) for family in self.strata])

    def each_seed(self, method: str, family: str) -> Iterator[dict[str, Values]]:
        """All columns of a family, policy seed by policy seed."""
        return iter(own[family] for own in self._rows[method].values())

    def difference(self, other: str, column: str = "utility", ours: str = "policy") -> Values:
        """Paired, episode by episode."""
        return np.asarray(self.mean(ours, column) - self.mean(other, column))

    def _by_seed(self, method: str) -> dict[str, float]:
        return {
            str(seed): float(np.mean(np.concatenate([own["utility"] for own in families.values()])))
            for seed, families in self._rows[method].items()
            if seed is not None
        }

    def _all_strata(self) -> NDArray[np.int64]:
        parts = [1000 * number + tasks for number, tasks in enumerate(self.strata.values())]
        return np.concatenate(parts)

    def _comparisons(self) -> dict[str, Comparison]:
        strata = self._all_strata()
        found = holm({f"over {name}": compare(self.difference(name), strata) for name in MAIN})
        others = ("cloned", "ppo", "tutor", "none", "twin", "oracle")
        found |= {f"over {name}": compare(self.difference(name), strata) for name in others if name in self._rows}
        for ours in ("cloned", "ppo", "tutor", "thrifty"):
            if ours in self._rows:
                found[f"{ours} over tuned"] = compare(self.difference("tuned", ours=ours), strata)
        for other in ("tuned", "kasmina", "cloned"):
            if other in self._rows:
                found[f"mean utility over {other}"] = compare(self.difference(other), strata, statistic=mean)
        found["test accuracy over tuned, mean"] = compare(
            self.difference("tuned", "test_accuracy"), strata, statistic=mean
        )
        for ours, other in (("policy", "twin"), ("thrifty", "thrifty-twin"), ("thrifty", "policy")):
            if ours in self._rows and other in self._rows:
                who = "" if ours == "policy" else f"{ours}'s "
                for what, column in (("training MACs", "training_ratio"), ("test accuracy", "test_accuracy")):
                    difference = self.difference(other, column, ours)
                    found[f"{who}{what} over {other}, mean"] = compare(difference, strata, statistic=mean)
        return found

    def _over_tuned_by_family(self) -> dict[str, dict[str, Any]]:
        found = {}
        for family, tasks in self.strata.items():
            own = np.asarray(self.of("policy", "utility", family) - self.of("tuned", "utility", family))
            average = compare(own, tasks, statistic=mean)
            found[family] = {
                **compare(own, tasks).to_json(),
                "plain_mean": average.mean,
                "plain_low": average.low,
                "plain_high": average.high,
            }
        return found

    def _over_tuned_by_level(self) -> dict[str, list[float]]:
        """Plain means."""
        found = {}
        for family, tasks in self.strata.items():
            own = np.asarray(self.of("policy", "utility", family) - self.of("tuned", "utility", family))
            found[family] = [float(own[tasks == number].mean()) for number in np.unique(tasks)]
        return found

    def _over_tuned_host_by_host(self) -> dict[str, dict[str, float | None]]:
        """Intervals where all episodes of a host of a level are drawn together: they share its weights."""
        hosts = self.mean("none", "init").astype(np.int64)
        return {
            name: compare(
                self.difference("tuned", column), self._all_strata(), clusters=hosts, statistic=statistic
            ).to_json()
            for name, column, statistic in (
                ("utility, interquartile mean", "utility", interquartile_mean),
                ("utility, mean", "utility", mean),
                ("test accuracy, mean", "test_accuracy", mean),
            )
        }

    def _over_tuned_by_seed(self) -> dict[str, dict[str, float | None]]:
        tuned, strata = self.mean("tuned", "utility"), self._all_strata()
        return {
            str(seed): compare(
                np.concatenate([own[family]["utility"] for family in self.strata]) - tuned, strata
            ).to_json()
            for seed, own in self._rows["policy"].items()
        }

    def _verdicts(self, comparisons: Mapping[str, Comparison]) -> dict[str, bool]:
        verdicts = {name: comparisons[f"over {name}"].low > 0 for name in MAIN}
        twin = comparisons["test accuracy over twin, mean"].low > NOT_INFERIOR
        broken = float(self.mean("policy", "violations").sum())
        return {**verdicts, "not inferior to its twin": twin, "no limit exceeded": broken == 0}


def _families(path: Path) -> dict[str, dict[str, Values]]:
    found: dict[str, dict[str, Values]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            family, _, column = key.partition("/")
            found.setdefault(family, {})[column] = arrays[key]
    return found


def _averaged(seeds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float | None]]:
    """Mean over policy seeds of what each says."""
    if not seeds:
        return {}
    return {
        name: {
            key: None if own[key] is None else float(np.mean([seed[name][key] for seed in seeds]))
            for key in RELIABILITY
            if key in own
        }
        for name, own in seeds[0].items()
    }


def text(figures: Mapping[str, Any]) -> str:
    """The table for people."""
    lines = [f"{figures['episodes']} held-out episodes, the same for everybody"]
    lines.append(
        f"{'method':<13}{'utility':>9}{'score %':>9}{'test %':>8}{'params':>8}{'training':>10}{'seeds':>7}{'panics':>8}"
    )
    for name, row in figures["methods"].items():
        lines.append(
            f"{name:<13}{row['utility']:>9.4f}{100 * row['accuracy']:>9.2f}{100 * row['test_accuracy']:>8.2f}"
            f"{row['params']:>8.0f}{row['training_ratio']:>10.2f}{row['seeds']:>7.2f}{row['events']:>8.3f}"
        )
    for name, own in figures["comparisons"].items():
        corrected = "" if own["p_holm"] is None else f", Holm {own['p_holm']:.4f}"
        interval = f"{own['mean']:+.4f} ({own['low']:+.4f} .. {own['high']:+.4f})"
        who = "policy " if name.startswith("over ") else ""
        lines.append(f"{who}{name}: {interval}, p {own['p']:.4f}{corrected}")
    lines += [f"{name}: {'passes' if held else 'FAILS'}" for name, held in figures["passes"].items()]
    return "\n".join(lines)
