"""What a set of weights leads to, and how good that is by a measure in which the weights do not appear.

    choice   of every level the habit that the weights call best on average, on host weights the choice is not judged on
    volume   accuracy gained over the bare host x share of the parameters' budget that is left x share of the energy's
             x share of the training that is left, all means over episodes

Volume is the hypervolume of one point with four coordinates. Its reference is a network no more accurate than the bare
host that takes its whole budget and `TRAINING_LIMIT` times the host's training; what does not dominate that is worth
nothing. So is a choice that exceeds a limit its bare host keeps, and one that gives away more accuracy than
`ACCURACY_GIVEN` against choosing by accuracy alone: cheapness is no excuse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tamiyo_runtime.contracts.document import require
from tamiyo_train.config import Prices
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.tuning.outcomes import Outcomes, at

Tensor = torch.Tensor
Figures = NDArray[np.float64]
TRAINING_LIMIT = 8.0
"""Times the bare host's training MACs at which nothing is left of that share."""
ACCURACY_GIVEN = 0.005
"""Mean accuracy (fraction) that may be given up for being cheap, as much as the protocol calls not inferior."""
FREE = Prices(params=0.0, energy=0.0, latency=0.0, safety_event=0.0, training_macs=0.0)
_PARAMS, _ENERGY = LIMITS.index("params"), LIMITS.index("energy_uj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means over episodes. ``gain``: accuracy over the bare host's; ``params_share``: log2(1 + parameters / budget).

    ``energy_share``: energy over its budget; ``energy_ratio``: over the bare host's; ``training_share``: log2 of
    ``training_ratio`` over log2 of the limit; ``events``: panics an episode; ``broken``: episodes beyond a limit.
    """

    accuracy: float
    gain: float
    params: float
    params_share: float
    energy_share: float
    energy_ratio: float
    training_ratio: float
    training_share: float
    events: float
    broken: float

    @property
    def volume(self) -> float:
        """The hypervolume, 0..1."""
        return float(volumes({name: np.asarray(value) for name, value in asdict(self).items()}))


def volumes(means: Mapping[str, Figures]) -> Figures:
    """The hypervolume of points given by columns of `Point`, all of one shape; the result has it too."""
    gain = means["gain"].clip(min=0.0)
    left = [(1 - means[name]).clip(min=0.0) for name in ("params_share", "energy_share", "training_share")]
    return np.where(means["broken"] > 0, 0.0, gain * math.prod(left))


def choose(outcomes: Outcomes, worth: Tensor, episodes: Tensor) -> Tensor:
    """Of every level the number of the habit that is worth most on average over ``episodes`` (E,) bool: (levels,).

    ``worth`` (E, H). Of equals the first, so that nothing grows for nothing; a level without episodes waits.
    """
    best = torch.zeros(len(outcomes.levels), dtype=torch.int64)
    for number in range(len(outcomes.levels)):
        rows = worth[episodes & (outcomes.level == number)]
        if len(rows):
            best[number] = int(rows.mean(0).argmax())
    return best


def columns(outcomes: Outcomes, habit: Tensor) -> dict[str, Tensor]:
    """What every episode came to under its ``habit`` (E,): columns of `Point`, each (E,) float64."""
    rows = torch.arange(len(outcomes))
    cost, budget, bare = outcomes.cost[rows, habit], outcomes.budget, outcomes.host
    accuracy, ratio = outcomes.accuracy[rows, habit], outcomes.training_ratio[rows, habit]
    energy, host_energy = cost[:, _ENERGY], bare[:, _ENERGY]
    return {
        "accuracy": accuracy,
        "gain": accuracy - outcomes.accuracy[:, 0],
        "params": cost[:, _PARAMS],
        "params_share": (1 + cost[:, _PARAMS] / budget[:, _PARAMS]).log2(),
        "energy_share": energy / budget[:, _ENERGY],
        "energy_ratio": torch.where(host_energy > 0, energy / host_energy, 1.0),
        "training_ratio": ratio,
        "training_share": ratio.log2() / math.log2(TRAINING_LIMIT),
        "events": outcomes.events[rows, habit],
        "broken": ((cost > budget) & (bare <= budget)).any(1).double(),
    }


def point(found: dict[str, Tensor]) -> Point:
    """The means of columns."""
    return Point(**{name: float(column.mean()) for name, column in found.items()})


class Yardstick:
    """Judges weights on what was ``played``, by the price at the gate: the same episodes at every one of them.

    By cross-validation over ``folds``: draws are dealt to them in turn.
    """

    def __init__(self, played: Mapping[float, Outcomes], *, folds: int = 3) -> None:
        self._played, self._folds = played, folds
        draw = next(iter(played.values())).draw
        require(all(torch.equal(draw, other.draw) for other in played.values()), "played", "episodes must be the same")
        self._fold = torch.unique(draw, return_inverse=True)[1] % folds
        self.least_accuracy = self.point(FREE).accuracy - ACCURACY_GIVEN

    def point(self, prices: Prices) -> Point:
        """Where the choices that the prices lead to end up on host weights they were not chosen on."""
        outcomes = at(self._played, prices)
        worth, habit = outcomes.utilities(prices), torch.zeros(len(outcomes), dtype=torch.int64)
        for fold in range(self._folds):
            judged = self._fold == fold
            habit[judged] = choose(outcomes, worth, ~judged)[outcomes.level[judged]]
        return point(columns(outcomes, habit))

    def score(self, prices: Prices) -> float:
        """Volume of that point; 0 where too much accuracy was given away."""
        found = self.point(prices)
        return found.volume if found.accuracy >= self.least_accuracy else 0.0
