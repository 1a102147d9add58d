"""Simulated running devices with what a plan would have each of them run: what the gate head is taught from.

A device is drawn at random: seeds with costs and contributions, a board, a deadline, a budget, a link. Then it runs
for some samples (`simulators.episodes`), so that its state is one that a device gets into. `planning` knows its true
tables and says which seeds pay for their energy over many samples, `asking` what to ask for to get them. The policy
sees only what the runtime's observer tells, and the governor checks what it proposes against measured figures anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.episodes.drawn import reached
from tamiyo_train.policy.planning import planned, spendable_uj

MOST_HELD = 5
"""Seeds of a simulated device: as many as fit the decisions of a final growth, each taking three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSamples:
    """N devices with what the plan would ask for. ``present``: (N, slots), slots that hold a seed at all.

    ``regret``: (N, 2^held), share of samples lost against the plan by asking for each pattern of gates of the first
    ``held`` slots, slot 0 the highest bit: by what the governor then grants, energy paid at its price.
    """

    observation: NDArray[np.float32]
    gates: NDArray[np.bool_]
    present: NDArray[np.bool_]
    regret: NDArray[np.float64]


def simulate(count: int, slots: int, *, seed: int) -> RunningSamples:
    """Have devices meet something, and say what the plan would ask for.

    With many slots the first `MOST_HELD` are drawn and the others hold nothing: a plan weighs every set of seeds.
    """
    lanes, states = reached(count, min(slots, MOST_HELD), seed=seed)
    asked = planned(lanes, spendable_uj(lanes))
    wide = states.widened(slots)
    gates = np.zeros_like(wide.present)
    gates[:, : asked.gates.shape[1]] = asked.gates
    return RunningSamples(
        observation=wide.matrix(), gates=gates & wide.present, present=wide.present, regret=asked.regret
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How proposals compare with the plan on devices they were not taught on. Shares in 0..1.

    ``gates``: share of present seeds set as the plan sets them; ``exact``: share of devices with the very same gates;
    ``regret``: mean share of samples lost to the plan by what is granted, energy paid at its price.
    """

    gates: float
    exact: float
    regret: float


def agreement(samples: RunningSamples, proposed: NDArray[np.bool_]) -> Agreement:
    """Compare proposals, (N, slots) bool, with the plan's."""
    proposed = proposed & samples.present
    same = proposed == samples.gates
    held = samples.regret.shape[1].bit_length() - 1
    pattern = proposed[:, :held] @ (1 << np.arange(held)[::-1])
    return Agreement(
        gates=float(same[samples.present].mean()),
        exact=float((same | ~samples.present).all(axis=1).mean()),
        regret=float(samples.regret[np.arange(len(proposed)), pattern].mean()),
    )
