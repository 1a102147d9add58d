"""What a device should run when energy comes slowly: the mixture of configurations that answers most samples right.

Over many samples with so much energy each, the best that can be had is a point on the upper hull of (energy, share of
samples answered right), skipping being (0, 0). Its slope at the budget is the price of energy, and the best choice is
the one with the most right answers less price times energy: the dual of a linear programme. At that price two
neighbours on the hull are equally good; the one whose energy is nearer to the budget is taken, so that a budget which
follows the level of the bucket swings between them. Where a full bucket's budget does not reach the middle between the
two, the dearer is never taken, and what comes in beyond the cheaper one is lost.

That is where planning beats taking the most accurate option that may run: an option with a little more accuracy for
much more energy empties the bucket, and the samples skipped then cost more than it brought.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.episodes.lanes import Lanes
from simulators.episodes.tables import Tables
from tamiyo_train.policy.asking import NOTHING, asking

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SET_POINT = 0.2
"""Level of the bucket at which what comes in is spent: high enough for the governor's reserve before it goes up."""
HORIZON = 1.0
"""Share of the time the bucket takes to fill over which what lies above or below the set point is spent or saved."""
RATIONED = 0.7
"""Share of a battery's charge below which a device without a power budget begins to save."""
TIE = 1e-9


class Plan(NamedTuple):
    """The option of each lane, (lanes,), and what each other one would lose against it, (lanes, options).

    ``regret``: share of samples answered right, energy being paid at its price; infinite for options not allowed.
    """

    option: Ints
    regret: Floats


class Asked(NamedTuple):
    """Gates to ask for, (lanes, slots), and what asking for each pattern of gates would lose against them.

    ``regret``: (lanes, 2^slots), slot 0 the highest bit, by what is granted; as in `Plan`, and 0 where nothing may run.
    """

    gates: NDArray[np.bool_]
    regret: Floats


def priced(right: Floats, energy_uj: Floats, allowed: NDArray[np.bool_], budget_uj: Floats) -> Plan:
    """Weigh options, all arguments (lanes, options) but ``budget_uj``: energy for a sample, infinite without a limit.

    Skipping is weighed, but nobody is told to skip: whether the energy suffices is the governor's business. Where
    nothing is allowed it is option 0.
    """
    gain = np.where(allowed, right, -np.inf)
    cost = np.where(allowed, energy_uj, 0.0)
    limit = np.where(np.isfinite(budget_uj), budget_uj, 0.0)[:, None]
    price = np.where(np.isfinite(budget_uj), _price(gain, cost, limit[:, 0]), 0.0)[:, None]
    score = gain - price * cost
    top = score.max(axis=1, keepdims=True)
    away = np.where(price > 0, np.abs(cost - limit), cost)
    with np.errstate(invalid="ignore"):
        option = np.where(score >= top - TIE, away, np.inf).argmin(axis=1)
        regret = np.where(np.isfinite(top), top - score, 0.0)
    return Plan(np.asarray(option), regret)


def _price(gain: Floats, cost: Floats, limit_uj: Floats) -> Floats:
    """Slope of the hull at the limit, (lanes,): walked from skipping upwards, corner by corner; 0 beyond its end."""
    lanes = np.arange(len(gain))
    at_gain, at_cost, price = np.zeros(len(gain)), np.zeros(len(gain)), np.zeros(len(gain))
    walks = np.ones(len(gain), dtype=bool)
    for _ in range(gain.shape[1]):
        rise, run = gain - at_gain[:, None], cost - at_cost[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = np.where((rise > 0) & (run > 0), rise / run, 0.0)
        corner = slopes.argmax(axis=1)
        slope = slopes[lanes, corner]
        price = np.where(walks, slope, price)
        walks = walks & (slope > 0) & (cost[lanes, corner] <= limit_uj)
        if not walks.any():
            return price
        at_gain = np.where(walks, gain[lanes, corner], at_gain)
        at_cost = np.where(walks, cost[lanes, corner], at_cost)
    return np.where(walks, 0.0, price)


def allowed_now(tables: Tables, slowdown: Floats) -> NDArray[np.bool_]:
    """Options there are that answer in time at this clock, once the governor trusts the estimates, (lanes, options)."""
    needs_ms = tables.latency_worst_ms * (tables.floor * slowdown * tables.margin)[:, None]
    return (tables.rank >= 0) & tables.fits_memory & (needs_ms <= tables.deadline_ms[:, None])


def spendable_uj(lanes: Lanes) -> Floats:
    """Energy for a sample, (lanes,): the income, more above the set point and less below; infinite without a limit."""
    tables = lanes.tables
    income = tables.power_mw * tables.period_s * 1e3
    level = np.minimum(lanes.bucket, lanes.battery)
    metered = income * np.maximum(0.0, 1 + (level - SET_POINT) / HORIZON)
    most = np.where(tables.rank >= 0, tables.energy_uj, 0.0).max(axis=1) * lanes.draw
    rationed = np.where(lanes.battery < RATIONED, most * lanes.battery / RATIONED, np.inf)
    return np.where(np.isfinite(tables.burst_uj), metered, rationed)


def planned(lanes: Lanes, budget_uj: Floats) -> Asked:
    """What each lane should ask for now with so much energy for a sample."""
    tables = lanes.tables
    allowed = allowed_now(tables, lanes.slowdown)
    plan = priced(tables.accuracy, tables.energy_uj * lanes.draw[:, None], allowed, budget_uj)
    ask = asking(tables, plan.option, allowed)
    regret = np.take_along_axis(plan.regret, np.maximum(ask.granted, 0), axis=1)
    return Asked(ask.gates, np.where(ask.granted == NOTHING, 0.0, regret))
