"""The table of `bench_growth_policy`: what every method came to on held-out episodes, and the paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.growth_statistics import Comparison, compare, holm
from tamiyo_train.policy.network import HeadViews, PolicyNetwork
from tamiyo_train.policy.ppo import calibration_error
from tamiyo_train.policy.rollout import Rollout
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.population.growth import TensorGrowth

SAFETY, HARDWARE = ("drift risk", "rollback need", "alert"), ("latency ok", "memory ok")
NOT_INFERIOR = -0.005
"""Test accuracy that a twin may be ahead, fraction."""
Values = NDArray[np.float64]
_COLUMNS = ("utility", "accuracy", "test_accuracy", "params", "macs", "training_ratio", "events", "seeds", "violations")


class Table:
    """Collects rollouts by method, policy seed and family; every method plays the same episodes in the same order."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int | None, dict[str, dict[str, Values]]]] = {}
        self._strata: dict[str, NDArray[np.int64]] = {}
        self._logits: list[dict[str, torch.Tensor]] = []
        self._happened: list[dict[str, torch.Tensor]] = []

    def add(self, method: str, seed: int | None, family: str, env: TensorGrowth, rollout: Rollout) -> None:
        """Take in what a method did in one family."""
        result, budget = rollout.result, env.budget
        over = ((result.cost > budget) & (env.table.host[env.profile] <= budget)).any(1)
        columns = {
            "utility": rollout.utility,
            "accuracy": result.accuracy,
            "test_accuracy": result.test_accuracy,
            "params": result.cost[:, LIMITS.index("params")],
            "macs": result.cost[:, LIMITS.index("macs")],
            "training_ratio": result.training_ratio,
            "events": result.events,
            "seeds": result.fossilised.sum(1),
            "violations": over,
        }
        kept = {name: column.double().cpu().numpy() for name, column in columns.items()}
        self._rows.setdefault(method, {}).setdefault(seed, {})[family] = kept
        self._strata[family] = env.task.cpu().numpy()

    def calibrate(self, network: PolicyNetwork, rollout: Rollout, views: HeadViews) -> None:
        """Take in what the auxiliary heads predicted, and what happened."""
        with torch.no_grad():
            out = views(network(rollout.decisions.vector))
        self._logits.append({name: out[name].cpu() for name in ("safety", "hardware")})
        self._happened.append({name: getattr(rollout.decisions, name).cpu() for name in ("safety", "hardware")})

    def figures(self, main: Sequence[str]) -> dict[str, Any]:
        """Everything as plain data."""
        families = list(self._strata)
        methods = {
            method: {
                **{name: float(self._mean(method, name).mean()) for name in _COLUMNS},
                "test_accuracy_by_family": {f: float(self._of(method, "test_accuracy", f).mean()) for f in families},
                "utility_by_family": {f: float(self._of(method, "utility", f).mean()) for f in families},
                "utility_by_seed": self._by_seed(method),
                "policy_seeds": len(self._rows[method]),
            }
            for method in self._rows
        }
        comparisons = self._comparisons(main)
        return {
            "episodes": len(self._mean("none", "utility")),
            "methods": methods,
            "comparisons": {name: own.to_json() for name, own in comparisons.items()},
            "by_family": self._comparisons_by_family(),
            "passes": self._verdicts(comparisons),
            "calibration": self._calibration(),
        }

    def _of(self, method: str, column: str, family: str) -> Values:
        return np.asarray(np.mean([own[family][column] for own in self._rows[method].values()], axis=0))

    def _mean(self, method: str, column: str) -> Values:
        """Of every episode, the mean over policy seeds."""
        return np.concatenate([self._of(method, column, family) for family in self._strata])

    def _by_seed(self, method: str) -> dict[str, float]:
        seeds = self._rows[method]
        return {
            str(seed): float(np.mean(np.concatenate([own["utility"] for own in families.values()])))
            for seed, families in seeds.items()
            if seed is not None
        }

    def _all_strata(self) -> NDArray[np.int64]:
        parts = [1000 * number + tasks for number, tasks in enumerate(self._strata.values())]
        return np.concatenate(parts)

    def _difference(self, other: str, column: str = "utility", ours: str = "policy") -> Values:
        return np.asarray(self._mean(ours, column) - self._mean(other, column))

    def _comparisons(self, main: Sequence[str]) -> dict[str, Comparison]:
        if "policy" not in self._rows:
            return {}
        strata = self._all_strata()
        found = holm({f"over {name}": compare(self._difference(name), strata) for name in main})
        for name in ("cloned", "kasmina", "none", "oracle"):
            if name in self._rows:
                found[f"over {name}"] = compare(self._difference(name), strata)
        for ours in ("cloned", "unshaped", "from-scratch"):
            if ours in self._rows:
                found[f"{ours} over tuned"] = compare(self._difference("tuned", ours=ours), strata)

        def mean(values: Values) -> Values:
            return np.asarray(values.mean(axis=-1))

        found["mean utility over tuned"] = compare(self._difference("tuned"), strata, statistic=mean)
        found["test accuracy over twin, mean"] = compare(
            self._difference("twin", "test_accuracy"), strata, statistic=mean
        )
        found["test accuracy over tuned, mean"] = compare(
            self._difference("tuned", "test_accuracy"), strata, statistic=mean
        )
        return found

    def _comparisons_by_family(self) -> dict[str, dict[str, float | None]]:
        if "policy" not in self._rows:
            return {}
        found = {}
        for family, tasks in self._strata.items():
            difference = self._of("policy", "utility", family) - self._of("tuned", "utility", family)
            found[family] = compare(np.asarray(difference), tasks).to_json()
        return found

    def _verdicts(self, comparisons: Mapping[str, Comparison]) -> dict[str, bool]:
        if not comparisons:
            return {}
        verdicts = {name: comparisons[f"over {name}"].low > 0 for name in ("tuned", "matched", "random", "bandit")}
        twin = comparisons["test accuracy over twin, mean"].low > NOT_INFERIOR
        broken = float(self._mean("policy", "violations").sum())
        return {**verdicts, "not inferior to its twin": twin, "no limit exceeded": broken == 0}

    def _calibration(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for head, names in (("safety", SAFETY), ("hardware", HARDWARE)):
            if not self._logits:
                continue
            logits = torch.cat([row[head] for row in self._logits])
            happened = torch.cat([row[head] for row in self._happened])
            for index, name in enumerate(names):
                found[name] = {
                    "ece": calibration_error(logits[:, index], happened[:, index]),
                    "share": float(happened[:, index].mean()),
                }
        return found

    @staticmethod
    def text(figures: Mapping[str, Any]) -> str:
        """The table for people."""
        lines = [f"{figures['episodes']} held-out episodes, the same for everybody"]
        lines.append(
            f"{'method':<13}{'utility':>9}{'score %':>9}{'test %':>8}{'params':>8}{'training':>10}{'seeds':>7}"
            f"{'panics':>8}"
        )
        for name, row in figures["methods"].items():
            lines.append(
                f"{name:<13}{row['utility']:>9.4f}{100 * row['accuracy']:>9.2f}{100 * row['test_accuracy']:>8.2f}"
                f"{row['params']:>8.0f}{row['training_ratio']:>10.2f}{row['seeds']:>7.2f}{row['events']:>8.3f}"
            )
        for name, own in figures["comparisons"].items():
            corrected = "" if own["p_holm"] is None else f", Holm {own['p_holm']:.4f}"
            interval = f"{own['mean']:+.4f} ({own['low']:+.4f} .. {own['high']:+.4f})"
            lines.append(f"policy {name}: {interval}, p {own['p']:.4f}{corrected}")
        lines += [f"{name}: {'passes' if held else 'FAILS'}" for name, held in figures["passes"].items()]
        return "\n".join(lines)
