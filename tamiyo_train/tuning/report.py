"""What tuning comes to: tuned weights beside the shipped ones, and each weight at 0 and at ten times its value.

Habits are chosen on the draws that were tuned on and judged on draws of host weights that no trial has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from tamiyo_train.config import Prices
from tamiyo_train.tuning.outcomes import Outcomes, at
from tamiyo_train.tuning.yardstick import ACCURACY_GIVEN, FREE, Point, choose, columns, point

if TYPE_CHECKING:
    from tamiyo_train.tuning.study import Search

Tensor = torch.Tensor
SCHEMA = "tamiyo.reward-tuning/1"
SHIPPED, TUNED, ACCURACY_ONLY = "as shipped", "tuned", "accuracy only"
FACTORS = (0.0, 10.0)
HELD_OUT = 3
"""Every so many-th draw is held out."""
_SAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Weights, where the habits they choose end up on held-out draws, and on how many levels the habit is another
    than at the shipped weights."""

    name: str
    prices: Prices
    point: Point
    volume: float
    levels_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Tuned less shipped on held-out draws, with its 95 % interval: a bootstrap over draws, paired."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``score_shipped`` and ``score_tuned``: cross-validated, on the draws tuned on; all else is on held-out draws."""

    schema: str
    seed: int
    levels: int
    habits: int
    draws: int
    draws_held_out: int
    trials: int
    score_shipped: float
    score_tuned: float
    importance: Mapping[str, float] | None
    volume: Difference
    accuracy: Difference
    rows: tuple[Row, ...]

    @property
    def better(self) -> bool:
        """Whether the tuned weights win on held-out draws for certain, without giving accuracy away."""
        return self.volume.low > 0 and self.accuracy.low > -ACCURACY_GIVEN

    def row(self, name: str) -> Row:
        """A row by its name."""
        return next(row for row in self.rows if row.name == name)


def held_out(outcomes: Outcomes) -> Tensor:
    """Which episodes are of draws that no trial sees, (E,) bool."""
    return outcomes.draw % HELD_OUT == HELD_OUT - 1


def report(played: Mapping[float, Outcomes], search: Search, *, score_shipped: float, seed: int) -> Report:
    """Judge what was found on what was played, by the price at the gate."""
    shipped = Prices()
    outcomes = at(played, shipped)
    judged = held_out(outcomes)
    sets = {SHIPPED: shipped, TUNED: search.prices, ACCURACY_ONLY: FREE}
    for name, value in asdict(shipped).items():
        sets |= {f"{name} x {factor:g}": replace(shipped, **{name: factor * value}) for factor in FACTORS}
    choices = {name: _choice(at(played, prices), prices) for name, prices in sets.items()}
    seen = outcomes.rows(judged)
    found = {name: columns(at(played, prices).rows(judged), choices[name][seen.level]) for name, prices in sets.items()}
    rows = []
    for name, prices in sets.items():
        where = point(found[name])
        changed = int((choices[name] != choices[SHIPPED]).sum())
        rows.append(Row(name=name, prices=prices, point=where, volume=where.volume, levels_changed=changed))
    volume, accuracy = _differences(seen, found[TUNED], found[SHIPPED], seed=seed)
    return Report(
        schema=SCHEMA,
        seed=seed,
        levels=len(outcomes.levels),
        habits=len(outcomes.habits),
        draws=len(torch.unique(outcomes.draw)),
        draws_held_out=len(torch.unique(seen.draw)),
        trials=search.trials,
        score_shipped=score_shipped,
        score_tuned=search.score,
        importance=search.importance,
        volume=volume,
        accuracy=accuracy,
        rows=tuple(rows),
    )


def _choice(outcomes: Outcomes, prices: Prices) -> Tensor:
    """The habit of every level that the prices call best on all draws that were tuned on."""
    return choose(outcomes, outcomes.utilities(prices), ~held_out(outcomes))


def _differences(
    seen: Outcomes, ours: dict[str, Tensor], theirs: dict[str, Tensor], *, seed: int
) -> tuple[Difference, Difference]:
    """Of volume and accuracy."""
    rng = np.random.default_rng(seed)
    members = [torch.nonzero(seen.draw == draw)[:, 0] for draw in torch.unique(seen.draw)]

    def difference(rows: Tensor) -> tuple[float, float]:
        a, b = (point({name: column[rows] for name, column in side.items()}) for side in (ours, theirs))
        return a.volume - b.volume, a.accuracy - b.accuracy

    drawn = np.asarray(
        [
            difference(torch.cat([members[number] for number in rng.integers(len(members), size=len(members))]))
            for _ in range(_SAMPLES)
        ]
    )
    whole = difference(torch.arange(len(seen)))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    volume, accuracy = (
        Difference(mean=whole[index], low=float(low[index]), high=float(high[index])) for index in (0, 1)
    )
    return volume, accuracy
