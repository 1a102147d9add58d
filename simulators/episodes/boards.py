"""Simulated boards over arrays of lanes: clock steps, heat, jitter, battery of `simulators.device`, the same numbers.

Schedules of slowdowns, outages and laps are of single boards only. A lane whose battery breaks down is off for good
here: an episode ends with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulators.battery import Battery
from simulators.episodes.tables import Bools, Floats, Ints
from simulators.jitter import Spread
from simulators.points import Ladder
from simulators.supply import Charged, after
from simulators.throttle import ThermalModel

_COOL = ThermalModel(
    ambient_c=25.0,
    resistance_k_per_w=0.0,
    time_constant_s=1.0,
    throttle_c=1.0,
    recover_c=0.0,
    throttled_slowdown=1.0,
)
"""Stands in for a board of whose heat nothing is known; its limits are not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boards:
    """(lanes, steps) for the clocks, slowest first, the last repeated where a lane has fewer; (lanes,) for the rest.

    ``throttle_c`` is infinite where nothing is known of heat. ``jitter_sigma`` and ``jitter_max`` by lane; ``devices``
    are the numbers that draws are made at. ``battery`` None: all hang on a socket.
    """

    stretch: Floats
    active_mw: Floats
    idle_mw: Floats
    top: Ints
    rated_mw: Floats
    ambient_c: Floats
    resistance_k_per_w: Floats
    time_constant_s: Floats
    throttle_c: Floats
    recover_c: Floats
    step_s: Floats
    jitter_sigma: Floats
    jitter_max: Floats
    devices: Ints
    seed: int
    battery: Battery | None = None
    supply_v: Floats | float = 3.3
    harvest_ma: Floats | float = 0.0

    @classmethod
    def of(
        cls,
        ladders: Sequence[Ladder],
        models: Sequence[ThermalModel | None],
        jitters: Sequence[tuple[float, float]],
        *,
        devices: Ints,
        seed: int,
    ) -> Boards:
        """From the values that single boards are made of; one entry a lane, ``jitters`` being (sigma, most)."""
        widest = max(len(ladder.steps) for ladder in ladders)
        steps = [[*ladder.steps, *[ladder.steps[-1]] * (widest - len(ladder.steps))] for ladder in ladders]
        heats = [model or _COOL for model in models]
        known = np.array([model is not None for model in models])
        return cls(
            stretch=np.array([[step.stretch for step in row] for row in steps]),
            active_mw=np.array([[step.active_mw for step in row] for row in steps]),
            idle_mw=np.array([[step.idle_mw for step in row] for row in steps]),
            top=np.array([ladder.top for ladder in ladders]),
            rated_mw=np.array([ladder.steps[ladder.rated].active_mw for ladder in ladders]),
            ambient_c=np.array([heat.ambient_c for heat in heats]),
            resistance_k_per_w=np.array([heat.resistance_k_per_w for heat in heats]),
            time_constant_s=np.array([heat.time_constant_s for heat in heats]),
            throttle_c=np.where(known, [heat.throttle_c for heat in heats], np.inf),
            recover_c=np.where(known, [heat.recover_c for heat in heats], -np.inf),
            step_s=np.array([heat.step_s for heat in heats]),
            jitter_sigma=np.array([sigma for sigma, _ in jitters]),
            jitter_max=np.array([most for _, most in jitters]),
            devices=devices,
            seed=seed,
        )

    @property
    def known_heat(self) -> Bools:
        """Whose temperature is known."""
        return np.isfinite(self.throttle_c)

    def settled_c(self, power_mw: Floats) -> Floats:
        """Temperature in the long run."""
        return self.ambient_c + self.resistance_k_per_w * power_mw * 1e-3

    def jitter(self, index: Ints) -> Floats:
        """Factors of inferences by their number on each lane."""
        normal = Spread(sigma=1.0, most=1e30, seed=self.seed).factors(self.devices, index)
        bound = np.log(self.jitter_max)
        return np.exp(np.clip(np.log(normal) * self.jitter_sigma, -bound, bound))


class BoardStates(NamedTuple):
    """(lanes,) each: temperature, step of the ladder, time since the governor looked, runs so far, battery."""

    temperature_c: Floats
    step: Ints
    since_s: Floats
    runs: Ints
    charged: Charged | None


def at_rest(boards: Boards, *, share: Floats | float = 1.0) -> BoardStates:
    """Boards that have waited for long, at their fastest clock, with so much in the battery."""
    lanes = len(boards.top)
    charged = None
    if boards.battery is not None:
        charge = np.broadcast_to(boards.battery.capacity_mah * np.asarray(share), lanes).copy()
        charged = Charged(charge, np.ones(lanes, dtype=bool))
    idle_mw = boards.idle_mw[np.arange(lanes), boards.top]
    return BoardStates(
        boards.settled_c(idle_mw), boards.top.copy(), np.zeros(lanes), np.zeros(lanes, dtype=np.int64), charged
    )


def passed(boards: Boards, states: BoardStates, seconds: Floats, *, busy: Bools) -> BoardStates:
    """After each lane has computed, or waited, for its seconds: `simulators.throttle.heated` and `Cell.draw`."""
    lanes = np.arange(len(boards.top))
    if states.charged is not None and boards.battery is not None:
        power_mw = np.where(busy, boards.active_mw[lanes, states.step], boards.idle_mw[lanes, states.step])
        charged, _ = after(
            boards.battery,
            states.charged,
            seconds,
            load_ma=np.where(states.charged.on, power_mw / boards.supply_v, 0.0),
            harvest_ma=boards.harvest_ma,
        )
        states = states._replace(charged=charged._replace(on=charged.on & states.charged.on))
    temperature, step, since, left = states.temperature_c, states.step, states.since_s, seconds
    while True:
        power_mw = np.where(busy, boards.active_mw[lanes, step], boards.idle_mw[lanes, step])
        settled = boards.settled_c(power_mw)
        to_look = np.maximum(boards.step_s - since, 0.0)
        still = (_moves(boards, temperature, step) == 0) & (_moves(boards, settled, step) == 0)
        whole = (left < to_look) | still
        span = np.where(whole, left, to_look)
        temperature = np.where(
            left > 0, settled + (temperature - settled) * np.exp(-span / boards.time_constant_s), temperature
        )
        looked = ~whole & (left > 0)
        step = step + np.where(looked, _moves(boards, temperature, step), 0)
        since = np.where(looked, 0.0, (since + span) % boards.step_s)
        left = left - span
        if not (left > 0).any():
            return states._replace(temperature_c=temperature, step=step, since_s=since)


def _moves(boards: Boards, temperature_c: Floats, step: Ints) -> Ints:
    down = (temperature_c >= boards.throttle_c) & (step > 0)
    up = (temperature_c < boards.recover_c) & (step < boards.top)
    return up.astype(np.int64) - down
