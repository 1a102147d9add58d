"""What tuning comes to: tuned weights beside the shipped ones, and each at 0, as tuned and at ten times its value.

Habits are chosen on the draws that were tuned on and judged on draws of host weights that no trial has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch

from tamiyo_train.config import Prices
from tamiyo_train.tuning.difference import Difference, Jackknife
from tamiyo_train.tuning.outcomes import Outcomes, at
from tamiyo_train.tuning.yardstick import ACCURACY_GIVEN, FREE, Point, choose, columns, point

if TYPE_CHECKING:
    from tamiyo_train.tuning.study import Search

Tensor = torch.Tensor
SCHEMA = "tamiyo.reward-tuning/2"
SHIPPED, TUNED, ACCURACY_ONLY = "as shipped", "tuned", "accuracy only"
FACTORS = (0.0, 10.0)
HELD_OUT = 3
"""Every so many-th draw is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Weights, where the habits they choose end up on held-out draws, and on how many levels the habit is another
    than at the shipped weights. ``volume_change`` and ``accuracy_change``: less those of the shipped weights."""

    name: str
    prices: Prices
    point: Point
    volume: float
    volume_change: Difference
    accuracy_change: Difference
    levels_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``score_shipped`` and ``score_tuned``: cross-validated, on the draws tuned on; rows are of held-out draws."""

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
    rows: tuple[Row, ...]

    @property
    def better(self) -> bool:
        """Whether the tuned weights win on held-out draws for certain, without giving accuracy away."""
        tuned = self.row(TUNED)
        return tuned.volume_change.low > 0 and tuned.accuracy_change.low > -ACCURACY_GIVEN

    def row(self, name: str) -> Row:
        """A row by its name."""
        return next(row for row in self.rows if row.name == name)


def held_out(outcomes: Outcomes) -> Tensor:
    """Which episodes are of draws that no trial sees, (E,) bool."""
    return outcomes.draw % HELD_OUT == HELD_OUT - 1


def report(played: Mapping[float, Outcomes], search: Search, *, score_shipped: float, seed: int) -> Report:
    """Judge what was found on what was played, by the price at the gate."""
    outcomes = at(played, Prices())
    judged = held_out(outcomes)
    seen = outcomes.rows(judged)
    jackknife = Jackknife(seen)
    sets = _sets(search.prices)
    choices = {name: _choice(at(played, prices), prices) for name, prices in sets.items()}
    found = {name: columns(at(played, prices).rows(judged), choices[name][seen.level]) for name, prices in sets.items()}
    rows = []
    for name, prices in sets.items():
        where = point(found[name])
        volume, accuracy = jackknife.differences(found[name], found[SHIPPED])
        rows.append(
            Row(
                name=name,
                prices=prices,
                point=where,
                volume=where.volume,
                volume_change=volume,
                accuracy_change=accuracy,
                levels_changed=int((choices[name] != choices[SHIPPED]).sum()),
            )
        )
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
        rows=tuple(rows),
    )


def _sets(tuned: Prices) -> dict[str, Prices]:
    """All weights that are judged, by name; of the tuned ones, those that differ also alone."""
    shipped = Prices()
    sets = {SHIPPED: shipped, TUNED: tuned, ACCURACY_ONLY: FREE}
    for name, value in asdict(shipped).items():
        sets |= {f"{name} x {factor:g}": replace(shipped, **{name: factor * value}) for factor in FACTORS}
        if getattr(tuned, name) != value:
            sets[f"{name} {TUNED}"] = replace(shipped, **{name: getattr(tuned, name)})
    return sets


def _choice(outcomes: Outcomes, prices: Prices) -> Tensor:
    """The habit of every level that the prices call best on all draws that were tuned on."""
    return choose(outcomes, outcomes.utilities(prices), ~held_out(outcomes))
