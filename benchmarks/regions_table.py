"""The table of the benchmark of regions: what every method came to, and paired differences of utility."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth_statistics import compare, mean
from benchmarks.regions_setting import DEEP

PAIRS = (
    *(("learned", other) for other in ("flat", "by-need", "even", "last", "none")),
    *((other, "flat") for other in ("even", "by-need", "last", "even-surest", "even-turns", "drawn")),
    ("even-turns", "even-surest"),
    ("even", "even-surest"),
)
"""Methods that are compared."""


@dataclass(slots=True)
class Judged:
    """What was judged, a row an episode: its family and stratum, its budget's room, and figures by method."""

    families: list[str]
    strata: list[str]
    room: list[float]
    figures: dict[str, dict[str, list[float]]]

    @staticmethod
    def read(paths: Sequence[Path]) -> Judged:
        """All lines of all files."""
        found = Judged([], [], [], {})
        for path in paths:
            for text in path.read_text().splitlines():
                found._add(json.loads(text))
        return found

    def _add(self, line: dict[str, Any]) -> None:
        family, task = line.pop("family"), line.pop("task")
        line.pop("batch")
        self.room += line.pop("room", [float("nan")] * len(task))
        self.families += [family] * len(task)
        self.strata += [f"{family} {number}" for number in task]
        for method, own in line.items():
            row = self.figures.setdefault(method, {})
            for key, value in own.items():
                if key != "shares":
                    row.setdefault(key, []).extend(value if isinstance(value, list) else [value])


def figures_of(judged: Judged) -> dict[str, Any]:
    """Means by method, and paired differences of utility: interquartile means with bootstrapped intervals."""
    families, room = np.array(judged.families), np.array(judged.room)
    groups = {"all": np.ones(len(families), dtype=bool)}
    groups |= {name: families == name for name in DEEP if name in families}
    groups |= {"room for less than 3": room < 3, "room for 3 or more": room >= 3}
    groups = {name: where for name, where in groups.items() if where.any()}
    strata = np.unique(judged.strata, return_inverse=True)[1]
    figures: dict[str, Any] = {"episodes": {name: int(where.sum()) for name, where in groups.items()}}
    figures["methods"] = {method: means(row, groups) for method, row in judged.figures.items()}
    figures["differences"] = {}
    for first, second in PAIRS:
        if first in judged.figures and second in judged.figures:
            difference = np.array(judged.figures[first]["utility"]) - np.array(judged.figures[second]["utility"])
            figures["differences"][f"{first} less {second}"] = {
                name: {
                    "interquartile": compare(difference[where], strata[where]).to_json(),
                    "mean": compare(difference[where], strata[where], statistic=mean).to_json(),
                }
                for name, where in groups.items()
            }
    return figures


def means(row: dict[str, list[float]], groups: dict[str, Any]) -> dict[str, Any]:
    """Utility by group, and the other figures over all."""
    found: dict[str, Any] = {
        name: round(float(np.array(row["utility"])[where].mean()), 4) for name, where in groups.items()
    }
    found |= {key: round(float(np.mean(row[key])), 4) for key in ("accuracy", "params", "seeds", "depth")}
    return found | {"over": int(sum(row["over"])), "panics": round(sum(row["events"]) / len(row["utility"]), 4)}


def show(figures: dict[str, Any]) -> None:
    """The figures as text."""
    print(figures["episodes"])
    for method, row in figures["methods"].items():
        print(f"{method:12} " + ", ".join(f"{name} {value}" for name, value in row.items()))
    for name, by_group in figures["differences"].items():
        print(name)
        for group, own in by_group.items():
            middle, mean = own["interquartile"], own["mean"]
            print(
                f"  {group:22} {middle['mean']:+.4f} ({middle['low']:+.4f} to {middle['high']:+.4f})"
                f"  mean {mean['mean']:+.4f} ({mean['low']:+.4f} to {mean['high']:+.4f})"
            )
