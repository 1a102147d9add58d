"""Simulated running devices with what a plan would have each of them run: what the gate head is taught from.

A device is drawn at random: seeds with costs and contributions, a board, a deadline, a budget, a link. Then it runs
for some samples (`simulators.episodes`), so that its state is one that a device gets into. `planning` knows its true
tables and says which seeds pay for their energy over many samples; the policy sees only what the runtime's observer
tells, and the governor checks what it proposes against measured figures anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.episodes.drawn import reached
from tamiyo_train.policy.planning import planned, spendable_uj


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSamples:
    """N devices with what the plan would switch on. ``present``: (N, slots), slots that hold a seed at all.

    ``regret``: (N, 2^slots), share of samples lost against the plan by each pattern of gates, slot 0 the highest bit,
    energy paid at its price; infinite for patterns that answer late.
    """

    observation: NDArray[np.float32]
    gates: NDArray[np.bool_]
    present: NDArray[np.bool_]
    regret: NDArray[np.float64]


def simulate(count: int, slots: int, *, seed: int) -> RunningSamples:
    """Have devices meet something, and say what the plan would switch on."""
    lanes, states = reached(count, slots, seed=seed)
    tables, rows = lanes.tables, np.arange(count)
    plan = planned(lanes, spendable_uj(lanes))
    return RunningSamples(
        observation=states.matrix(),
        gates=tables.gates[rows, plan.option] & states.present,
        present=states.present,
        regret=np.take_along_axis(plan.regret, tables.find, axis=1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How proposals compare with the plan on devices they were not taught on. Shares in 0..1.

    ``gates``: share of present seeds set as the plan sets them; ``exact``: share of devices with the very same
    configuration; ``feasible``: share whose proposal is in time; ``regret``: mean share of samples lost to the plan
    where it is, energy paid at its price.
    """

    gates: float
    exact: float
    feasible: float
    regret: float


def agreement(samples: RunningSamples, proposed: NDArray[np.bool_]) -> Agreement:
    """Compare proposals, (N, slots) bool, with the plan's."""
    proposed = proposed & samples.present
    same = proposed == samples.gates
    pattern = proposed @ (1 << np.arange(proposed.shape[1])[::-1])
    regret = samples.regret[np.arange(len(proposed)), pattern]
    in_time = np.isfinite(regret)
    return Agreement(
        gates=float(same[samples.present].mean()),
        exact=float((same | ~samples.present).all(axis=1).mean()),
        feasible=float(in_time.mean()),
        regret=float(regret[in_time].mean()) if in_time.any() else 0.0,
    )
