"""Devices that no gate head was taught on: other networks, budgets, throttling, weather and links than are drawn there.

Teaching draws networks whose seeds add up, on hosts of 55 to 90 %, mostly faster than the governor's dwell time, at
25 C, without harvest and without a script. Here

* a seed takes a share of the errors that are left, so that contributions overlap; each is measured as bundles do it, by
  leaving the seed out of the full network; hosts are below 55 % or above 90 %;
* a sample comes every 50 ms to 2 s, and the full network takes 3 to 80 % of that;
* the average power allowed is a quarter, a half or all of what the full network draws at rated speed, or not limited;
* the governor knows of heat, as it does on boards whose profile does;
* the network's coverage comes and goes more often, with reports of other sizes.

The families: ``socket`` (cool, a clock that stays), ``script`` (another job slows the board by 1.5 to 4 for stretches
of 20 to 60 samples), ``heat`` (ambient 25 to 55 C and back once in the episode, boards that settle at 70 to 110 C when
they compute all the time), ``harvest`` (a battery that lasts 0.4 to 1.2 episodes of the full network, and a sun that
rises and sets once). A board whose battery breaks down is off for the rest of its episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulators.battery import batteries
from simulators.episodes.boards import Boards
from simulators.episodes.drawn import drawn, ranks
from simulators.episodes.lanes import Lanes, Start
from simulators.episodes.links import Links
from simulators.episodes.tables import Tables

FAMILIES = ("socket", "script", "heat", "harvest")
BUDGETS = (0.25, 0.5, 1.0, np.inf)
"""Average power allowed over that of the full network at rated speed."""
SEED = 1_000_003
"""Added to all seeds: teaching derives its own by hashing, this keeps the addresses of devices apart from tests'."""
_HARMFUL = 0.15
_GUARD_C = 77.0
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Fresh lanes, what their boards are at each sample, and which budget each lane has (an index of ``BUDGETS``)."""

    lanes: Lanes
    boards: Callable[[int], Boards]
    budget: NDArray[np.int64]


def scenario(family: str, *, lanes: int, slots: int, steps: int, seed: int) -> Scenario:
    """Lanes of one family for episodes of so many samples; budgets in turn."""
    rng = np.random.default_rng([SEED, seed, FAMILIES.index(family)])
    budget = np.arange(lanes) % len(BUDGETS)
    base = drawn(lanes, slots, seed=SEED + seed * len(FAMILIES) + FAMILIES.index(family))
    boards = _boards(base.boards, base.tables, rng, family)
    tables = _tables(base.tables, boards, rng, np.array(BUDGETS)[budget], idle=family == "harvest")
    if family == "harvest":
        boards = _on_battery(boards, tables, rng, steps)
    start = Start(bucket=rng.uniform(0.3, 1.0, lanes), credit=rng.uniform(size=lanes))
    made = Lanes(tables, boards, _links(lanes, rng, base.boards.devices, seed), start)
    return Scenario(lanes=made, boards=_weather(boards, rng, family, steps), budget=budget)


def _tables(base: Tables, boards: Boards, rng: np.random.Generator, budget: Floats, *, idle: bool) -> Tables:
    count, slots = base.present.shape
    lane = np.arange(count)
    period_s = 10 ** rng.uniform(-1.3, 0.3, count)
    full_ms = period_s * 1e3 * 10 ** rng.uniform(-1.5 if not idle else -0.7, -0.1, count)
    scale = full_ms / base.latency_ms[lane, base.last]
    latency, energy = base.latency_ms * scale[:, None], base.energy_uj * scale[:, None]
    host = np.where(rng.uniform(size=count) < 0.5, rng.uniform(0.40, 0.55, count), rng.uniform(0.90, 0.97, count))
    takes = np.where(
        rng.uniform(size=(count, slots)) < _HARMFUL,
        -rng.uniform(0.02, 0.1, (count, slots)),
        rng.beta(1, 2, (count, slots)),
    )
    takes = np.where(base.present, takes, 0.0)

    def accuracy_of(gates: NDArray[np.bool_]) -> Floats:
        return np.asarray(1 - (1 - host) * np.where(gates, 1 - takes, 1.0).prod(axis=1))

    accuracy = np.stack([accuracy_of(base.gates[:, option]) for option in range(base.gates.shape[1])], axis=1)
    each = np.eye(slots, dtype=bool)
    contributions = [accuracy_of(base.present) - accuracy_of(base.present & ~each[slot]) for slot in range(slots)]
    power_mw = energy / np.maximum(period_s[:, None] * 1e3, latency)
    busy = np.minimum(1.0, latency / (period_s[:, None] * 1e3))
    at_rest, active = boards.idle_mw[:, -1:], boards.rated_mw[:, None]
    return replace(
        base,
        latency_ms=latency,
        energy_uj=energy,
        unclocked_ms=base.unclocked_ms * scale[:, None],
        latency_worst_ms=base.latency_worst_ms * scale[:, None],
        energy_worst_uj=base.energy_worst_uj * scale[:, None],
        seed_latency_ms=base.seed_latency_ms * scale[:, None],
        settled_c=25.0 + boards.resistance_k_per_w[:, None] * (at_rest + busy * (active - at_rest)) * 1e-3,
        hot_c=np.full(count, _GUARD_C),
        accuracy=accuracy,
        rank=ranks(accuracy, base.rank < 0),
        contributions=np.where(base.present, np.stack(contributions, axis=1), 0.0),
        period_s=period_s,
        deadline_ms=full_ms * 2 ** rng.uniform(-0.5, 3.0, count),
        power_mw=np.where(
            np.isfinite(budget), np.where(np.isfinite(budget), budget, 0.0) * power_mw[lane, base.last], 0.0
        ),
        burst_uj=np.where(np.isfinite(budget), energy[lane, base.last] * 10 ** rng.uniform(0.5, 2.0, count), np.inf),
        host_power_mw=power_mw[:, 0],
        full_power_mw=power_mw[lane, base.last],
    )


def _boards(base: Boards, tables: Tables, rng: np.random.Generator, family: str) -> Boards:
    """Rated at their fastest clock, on a socket, cool unless the family is of heat."""
    count = len(tables)
    idle_mw = base.rated_mw * rng.uniform(0.01, 0.1 if family == "harvest" else 0.5, count)
    warm_c = rng.uniform(70.0, 110.0, count) if family == "heat" else rng.uniform(35.0, 60.0, count)
    return replace(
        base,
        idle_mw=np.repeat(idle_mw[:, None], base.idle_mw.shape[1], axis=1),
        top=np.full(count, base.stretch.shape[1] - 1),
        resistance_k_per_w=(warm_c - 25.0) / (base.rated_mw * 1e-3),
        time_constant_s=10 ** rng.uniform(0.5, 1.5, count),
        battery=None,
        supply_v=3.3,
    )


def _on_battery(boards: Boards, tables: Tables, rng: np.random.Generator, steps: int) -> Boards:
    """As many cells, or as small a part of one, as carry the full network for a drawn share of the episode."""
    cell = replace(batteries.get("li-ion-18650"), self_discharge=0.0, resistance_ohm=0.0, capacity_mah=100.0)
    lane = np.arange(len(tables))
    busy = tables.latency_ms[lane, tables.last] / (tables.period_s * 1e3)
    mean_mw = boards.idle_mw[:, -1] + busy * (boards.rated_mw - boards.idle_mw[:, -1])
    hours = steps * tables.period_s / 3600 * rng.uniform(0.4, 1.2, len(tables))
    usable_mah = cell.capacity_mah - cell.least_mah(0.0)
    return replace(boards, battery=cell, supply_v=mean_mw * hours / usable_mah)


def _weather(boards: Boards, rng: np.random.Generator, family: str, steps: int) -> Callable[[int], Boards]:
    count = len(boards.top)
    if family == "script":
        length, phase = rng.integers(20, 60, count), rng.integers(0, 120, count)
        factor = rng.uniform(1.5, 4.0, count)

        def slowed(step: int) -> Boards:
            by = np.where(((step + phase) // length) % 2 == 1, factor, 1.0)
            return replace(boards, stretch=boards.stretch * by[:, None])

        return slowed
    if family == "heat":
        return lambda step: replace(boards, ambient_c=25.0 + 30.0 * np.sin(np.pi * step / steps) * np.ones(count))
    if family == "harvest":
        most_ma = rng.uniform(0.0, 1.0, count) * boards.rated_mw / boards.supply_v * 0.3
        return lambda step: replace(boards, harvest_ma=most_ma * max(0.0, float(np.sin(2 * np.pi * step / steps))))
    return lambda step: boards


def _links(count: int, rng: np.random.Generator, devices: NDArray[np.int64], seed: int) -> Links:
    return Links(
        burst_s=np.where(rng.uniform(size=count) < 0.5, 36.0, 3.6),
        rate=np.where(rng.uniform(size=count) < 0.5, 0.1, 0.001),
        airtime_s=10 ** rng.uniform(-0.5, 0.5, count),
        report_s=10 ** rng.uniform(0.5, 1.5, count),
        falls=rng.uniform(0.1, 0.5, count),
        returns=rng.uniform(0.05, 0.5, count),
        devices=devices,
        seed=SEED + seed,
    )
