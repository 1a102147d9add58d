"""The table of ablations: every variant's means, and its utility less that of the whole teaching on the same episodes.

Two kinds of chance are told apart: the spread over policy seeds, each compared with the reference of the same seed, and
the 95 % interval over episodes, of the mean over the seeds that both have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.growth_statistics import compare

REFERENCE = "policy"
FIGURES = ("utility", "test_accuracy", "params", "training_ratio", "events")
Values = NDArray[np.float64]
Line = Mapping[str, Any]


def summary(lines: Sequence[Line]) -> dict[str, Any]:
    """The table as plain data, with a hash of the lines it is made of.

    Raises ValueError on lines of different settings: they cannot be compared.
    """
    if len({json.dumps(line["settings"], sort_keys=True) for line in lines}) != 1:
        raise ValueError("the lines are of different settings")
    rows: dict[str, Any] = {}
    references = {line["seed"]: line for line in lines if line["variant"] == REFERENCE}
    for name in dict.fromkeys(line["variant"] for line in lines):
        own = [line for line in lines if line["variant"] == name]
        pairs = [(line, other) for line in own for seed, other in references.items() if line["seed"] in (None, seed)]
        rows[name] = {
            "about": own[0]["about"],
            "seeds": [line["seed"] for line in own],
            "utility_less_reference": [_mean(line, "utility") - _mean(other, "utility") for line, other in pairs],
            "over_episodes": _over_episodes(pairs),
            **{key: [_mean(line, key) for line in own] for key in FIGURES},
        }
    ordered = sorted(json.dumps(line, sort_keys=True) for line in lines)
    return {
        "settings": lines[0]["settings"],
        "held_out_levels": sum(len(columns["utility"]) for columns in lines[0]["judged"].values()),
        "episodes": len(_episodes(lines[0])[0]),
        "variants": rows,
        "lines_sha256": hashlib.sha256("\n".join(ordered).encode()).hexdigest(),
    }


def _over_episodes(pairs: Sequence[tuple[Line, Line]]) -> dict[str, float | None] | None:
    """Mean difference of all seeds, with its interval over episodes, stratified by level; None without a reference."""
    if not pairs:
        return None
    differences = np.mean([_episodes(line)[0] - _episodes(other)[0] for line, other in pairs], axis=0)
    return compare(differences, _episodes(pairs[0][0])[1], statistic=lambda values: values.mean(-1)).to_json()


def _episodes(line: Line) -> tuple[Values, NDArray[np.int64]]:
    """Utility and level of every episode of a line; levels take turns within a family."""
    values, strata, first = [], [], 0
    for columns in line["judged"].values():
        levels = len(columns["utility"])
        values.append(np.asarray(columns["utility_of_episodes"]))
        strata.append(first + np.arange(len(values[-1])) % levels)
        first += levels
    return np.concatenate(values), np.concatenate(strata)


def _mean(line: Line, key: str) -> float:
    return float(np.mean([value for columns in line["judged"].values() for value in columns[key]]))


def text(table: Mapping[str, Any]) -> str:
    """The table for people."""
    out = [
        f"{'variant':<18}{'utility':>9}{'less policy (95 %, episodes)':>32}{'range over seeds':>22}"
        f"{'test %':>8}{'params':>8}{'training':>10}"
    ]
    for name, row in table["variants"].items():
        change, over = row["utility_less_reference"], row["over_episodes"]
        interval = f"{over['mean']:+.4f} ({over['low']:+.4f} to {over['high']:+.4f})" if over else "-"
        spread = f"{min(change):+.4f} to {max(change):+.4f}" if change else "-"
        out.append(
            f"{name:<18}{np.mean(row['utility']):>9.4f}{interval:>32}{spread:>22}"
            f"{100 * np.mean(row['test_accuracy']):>8.2f}{np.mean(row['params']):>8.0f}"
            f"{np.mean(row['training_ratio']):>10.2f}"
        )
    return "\n".join(out)


def page(table: Mapping[str, Any]) -> str:
    """The table for `docs/policy.md`."""
    out = [
        "| variant | utility | less the policy's (95 % over episodes) | each seed | test accuracy, % | parameters "
        "| training |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in table["variants"].items():
        over, same = row["over_episodes"], name == REFERENCE
        interval = "" if same or not over else f"{over['mean']:+.4f} ({over['low']:+.4f} to {over['high']:+.4f})"
        each = "" if same else ", ".join(f"{change:+.4f}" for change in row["utility_less_reference"])
        out.append(
            f"| {name}: {row['about']} | {np.mean(row['utility']):.4f} | {interval} | {each} "
            f"| {100 * np.mean(row['test_accuracy']):.2f} | {np.mean(row['params']):.0f} "
            f"| {np.mean(row['training_ratio']):.2f} |"
        )
    return "\n".join(out)
