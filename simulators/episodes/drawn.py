"""Lanes drawn at random: networks, boards, budgets and links of many kinds, each by the address of its device.

Ranges are wide on purpose, from a microcontroller's milliwatts to watts, from a sample a second to back to back, from
budgets that hold nothing to budgets that hold everything: a policy is to read its state, not to know its board. They
are choices, no survey of devices. Lanes begin somewhere: hot or cool, with some of the bucket, the credit, the battery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from simulators.battery import batteries
from simulators.episodes.boards import Boards
from simulators.episodes.lanes import Lanes, Start
from simulators.episodes.links import Links
from simulators.episodes.states import RunningStates
from simulators.episodes.tables import Bools, Floats, Ints, Tables
from simulators.lorawan.streams import Purpose, uniforms
from tamiyo_runtime.contracts.running import PROFILE_FEATURES
from tamiyo_runtime.governor import MARGIN
from tamiyo_runtime.options import Z_999

_SCRIPT_SALT, _LANE_SALT = 2, 3
_STEPS = 24
_KEPT = 0.8
"""Chance that a gate of the script that brings lanes to their states stays as it is."""

Draw = Callable[..., Floats]


def drawn(count: int, slots: int, *, seed: int) -> Lanes:
    """Lanes of devices 0 to ``count``; a device is the same whatever the count is."""
    devices = np.arange(count)
    numbers = iter(range(1 << 20))

    def uniform(low: float = 0.0, high: float = 1.0, *, wide: int | None = None) -> Floats:
        index = np.array([next(numbers) for _ in range(wide or 1)])
        values, _ = uniforms(seed, Purpose.EPISODE, devices[:, None], index[None], salt=_LANE_SALT)
        spread = low + (high - low) * values
        return spread if wide else spread[:, 0]

    tables = _tables(uniform, count, slots)
    boards, battery = _boards(uniform, tables, devices, seed)
    start = Start(
        bucket=uniform(),
        battery=battery,
        credit=uniform(),
        temperature_c=uniform(40.0, 90.0),
    )
    return Lanes(tables, boards, _links(uniform, devices, seed), start)


def reached(count: int, slots: int, *, seed: int) -> tuple[Lanes, RunningStates]:
    """Drawn lanes after some samples under gates that come and go at random, and what their policies see then."""
    lanes = drawn(count, slots, seed=seed)
    devices = np.arange(count)[:, None]
    gates = np.zeros((count, slots), dtype=bool)
    for step in range(_STEPS):
        changes, to = uniforms(seed, Purpose.EPISODE, devices, step * slots + np.arange(slots)[None], salt=_SCRIPT_SALT)
        gates = np.where((changes > _KEPT) | (step == 0), to < 0.6, gates)
        lanes.step(gates)
    return lanes, lanes.observe()


def _tables(uniform: Draw, count: int, slots: int) -> Tables:
    present = uniform(wide=slots) < np.choose((uniform() * 3).astype(int), [0.6, 0.9, 1.0])[:, None]
    host_ms = 10 ** uniform(-2, 1)
    seed_ms = np.where(present, host_ms[:, None] * 10 ** uniform(-1.3, 0.5, wide=slots), 0.0)
    harms = uniform(wide=slots) < 0.2
    scale = 10 ** uniform(-1.7, -0.7)[:, None]
    gains = np.where(present, -scale * np.log1p(-uniform(wide=slots)) * np.where(harms, -0.3, 1.0), 0.0)
    top = uniform(0.6, 0.99)  # with every seed that helps; the bare host keeps a tenth of it
    helped = np.maximum(gains, 0.0).sum(1)
    gains *= np.minimum(1.0, 0.9 * top / np.maximum(helped, _TINY))[:, None]
    bare = top - np.maximum(gains, 0.0).sum(1)
    relative = np.where(present, 10 ** uniform(-1.5, 1, wide=slots), 0.0)
    profile = np.stack([uniform(low, high) for low, high in zip((3, 0, 1), (7, 3, 4), strict=True)], axis=1)
    assert profile.shape[1] == len(PROFILE_FEATURES)
    active_mw, full_ms = 10 ** profile[:, 2], host_ms + seed_ms.sum(1)
    period_s = full_ms * 10 ** uniform(0.0, 2.5) * 1e-3
    patterns = np.array(list(product((False, True), repeat=slots)))
    absent = (patterns[None] & ~present[:, None, :]).any(axis=2)
    unsorted_ms = host_ms[:, None] + seed_ms @ patterns.T
    order = np.argsort(np.where(absent, np.inf, unsorted_ms), axis=1, kind="stable")
    gates, missing = patterns[order], np.take_along_axis(absent, order, axis=1)
    latency = np.take_along_axis(unsorted_ms, order, axis=1)
    accuracy = np.maximum(bare[:, None] + (gates * gains[:, None, :]).sum(2), 0.0)
    energy = latency * active_mw[:, None]
    jitter_tail = np.exp(Z_999 * _SIGMA)
    error = uniform(0.1, 0.7)
    budget_mw = full_ms * active_mw / (period_s * 1e3) * 2 ** uniform(-2.5, 2)
    metered, held = uniform() < 0.85, uniform() < 0.9
    busy_ms = np.maximum(period_s[:, None] * 1e3, latency)
    power_mw = energy / busy_ms
    last = (~missing).sum(1) - 1
    lanes = np.arange(count)
    return Tables(
        gates=gates,
        latency_ms=latency,
        unclocked_ms=latency * np.where(uniform() < 0.3, uniform(0.0, 0.8), 0.0)[:, None],
        energy_uj=energy,
        latency_worst_ms=latency * (1 + error)[:, None] * jitter_tail,
        energy_worst_uj=energy * (1 + error)[:, None] * jitter_tail,
        settled_c=np.full(latency.shape, -np.inf),
        fits_memory=np.ones(latency.shape, dtype=bool),
        accuracy=accuracy,
        rank=ranks(accuracy, missing),
        find=np.argsort(order, axis=1),
        floor=1 / (1 + error),
        period_s=period_s,
        deadline_ms=np.where(held, full_ms * 2 ** uniform(-2.5, 3), np.inf),
        power_mw=np.where(metered, budget_mw, 0.0),
        burst_uj=np.where(metered, energy[lanes, last] * 10 ** uniform(0.3, 2.5), np.inf),
        hot_c=np.full(count, np.inf),
        limit_c=np.full(count, np.inf),
        margin=np.full(count, MARGIN),
        dwell_ms=np.full(count, 1000.0),
        reserve_share=np.full(count, 0.25),
        present=present,
        contributions=gains,
        relative_params=relative,
        relative_macs=relative * uniform(0.5, 2.0, wide=slots),
        seed_latency_ms=seed_ms,
        host_power_mw=power_mw[:, 0],
        full_power_mw=power_mw[lanes, last],
        profile=profile,
    )


_SIGMA = 0.08
_TINY = 1e-12


def ranks(accuracy: Floats, missing: Bools) -> Ints:
    """As `Options.best_first`: by accuracy, the cheaper first among equals."""
    index = np.broadcast_to(np.arange(accuracy.shape[1]), accuracy.shape)
    order = np.lexsort((-index, accuracy), axis=1)
    ranks = np.empty(accuracy.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, index, axis=1)
    return np.where(missing, -1, ranks)


def _boards(uniform: Draw, tables: Tables, devices: Ints, seed: int) -> tuple[Boards, Floats]:
    """Boards of three clocks, and the share of charge that each begins with; most hang on a socket."""
    count = len(tables)
    active_mw = 10 ** tables.profile[:, 2]
    idle_mw = active_mw * uniform(0.05, 0.9)
    stretch = np.stack([uniform(2.0, 4.0), uniform(1.2, 2.0), np.ones(count)], axis=1)
    powers = idle_mw[:, None] + (active_mw - idle_mw)[:, None] * stretch**-1.5
    has_battery = uniform() < 0.3
    boards = Boards(
        stretch=stretch,
        active_mw=powers,
        idle_mw=np.repeat(idle_mw[:, None], 3, axis=1),
        top=np.where(uniform() < 0.7, 2, np.where(uniform() < 0.7, 1, 0)),
        rated_mw=active_mw,
        ambient_c=np.full(count, 25.0),
        resistance_k_per_w=(uniform(60.0, 110.0) - 25.0) / (active_mw * 1e-3),
        time_constant_s=10 ** uniform(0.5, 2.0),
        throttle_c=np.full(count, 80.0),
        recover_c=np.full(count, 75.0),
        step_s=np.ones(count),
        jitter_sigma=np.full(count, _SIGMA),
        jitter_max=np.full(count, 3.0),
        devices=devices,
        seed=seed,
        battery=replace(batteries.get("li-ion-18650"), self_discharge=0.0),
        supply_v=np.where(has_battery, 3.3, np.inf),
    )
    return boards, np.where(has_battery, uniform(0.15, 1.0), 1.0)


def _links(uniform: Draw, devices: Ints, seed: int) -> Links:
    count = len(devices)
    return Links(
        burst_s=np.where(uniform() < 0.6, 3.6, np.inf),
        rate=np.full(count, 0.009),
        airtime_s=10 ** uniform(-1.5, 0.5),
        report_s=10 ** uniform(1.0, 3.0),
        falls=uniform(0.0, 0.05),
        returns=np.full(count, 0.2),
        devices=devices,
        seed=seed,
    )
