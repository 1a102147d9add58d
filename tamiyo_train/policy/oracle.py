"""Simulated running devices, and the oracle that says which seeds each should run.

A device is drawn at random: seeds with costs and contributions, a board, a deadline, a budget, a link. Then it runs
for some samples (`simulators.episodes`), so that its state is one that a device gets into. The oracle tries every
subset of the seeds and takes the most accurate that

* meets the deadline with a margin: latency at present <= (1 - margin) deadline, and
* does not run the bucket dry: level + (1 - power / income) horizon >= reserve, the horizon being a share of the time
  the bucket takes to fill, so that a full bucket may be spent on a burst and an empty one is saved.

Among equally accurate subsets it takes the cheapest, and the bare host when nothing fits. Accuracy is taken as additive
in the contributions; the runtime's governor checks what the policy proposes against measured figures anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.episodes.drawn import reached
from simulators.episodes.states import RunningStates
from tamiyo_runtime.contracts.running import RunningState

MARGIN = 0.1
HORIZON = 0.5
RESERVE = 0.1
TIE = 1e-4
"""Accuracy below which two subsets count as equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A running device: its state as the policy sees it, and the power each seed adds (mW, rated speed)."""

    state: RunningState
    seed_power_mw: tuple[float, ...]


def feasible(device: Device, gates: tuple[bool, ...], *, margin: float = MARGIN) -> bool:
    """Whether a configuration meets the deadline and leaves the bucket its reserve."""
    state = device.state
    latency = state.host_latency_ms + sum(ms for ms, on in zip(state.seed_latency_ms, gates, strict=True) if on)
    if state.deadline_ms is not None and latency * state.slowdown > (1 - margin) * state.deadline_ms:
        return False
    if state.power_budget_mw is None:
        return True
    power = state.host_power_mw + sum(mw for mw, on in zip(device.seed_power_mw, gates, strict=True) if on)
    ratio = power * state.slowdown / state.power_budget_mw
    return state.bucket_level + (1 - ratio) * HORIZON >= RESERVE


def best_gates(devices: Sequence[Device]) -> NDArray[np.bool_]:
    """The oracle's choices, (N, slots): all 2^slots subsets are weighed for all devices at once."""
    states = [device.state for device in devices]
    present = np.asarray([state.present for state in states], dtype=np.bool_)
    gains = np.asarray([state.contributions for state in states])
    slot_ms = np.asarray([state.seed_latency_ms for state in states])
    slot_mw = np.asarray([device.seed_power_mw for device in devices])
    slowdown = np.asarray([state.slowdown for state in states])
    level = np.asarray([state.bucket_level for state in states])
    host_ms = np.asarray([state.host_latency_ms for state in states])
    host_mw = np.asarray([state.host_power_mw for state in states])
    deadline = np.asarray([np.inf if s.deadline_ms is None else s.deadline_ms for s in states])
    income = np.asarray([np.inf if s.power_budget_mw is None else s.power_budget_mw for s in states])
    best = np.zeros_like(present)
    best_gain, best_ms = np.zeros(len(devices)), np.zeros(len(devices))
    for pattern in itertools.product((False, True), repeat=present.shape[1]):
        gates = np.asarray(pattern)
        ms, gain = slot_ms @ gates, np.round(gains @ gates / TIE) * TIE
        fits = (host_ms + ms) * slowdown <= (1 - MARGIN) * deadline
        fits &= level + (1 - (host_mw + slot_mw @ gates) * slowdown / income) * HORIZON >= RESERVE
        fits &= (present | ~gates).all(axis=1)
        better = fits & ((gain > best_gain) | ((gain == best_gain) & (ms < best_ms)))
        best[better], best_gain[better], best_ms[better] = gates, gain[better], ms[better]
    return best


def met(count: int, slots: int, *, seed: int) -> tuple[RunningStates, tuple[Device, ...]]:
    """States that devices of many kinds are in after some samples: heat, clock, bucket, battery and link as they come.

    They are those of `simulators.episodes`, which is held to the runtime's own session vector by vector.
    """
    lanes, states = reached(count, slots, seed=seed)
    tables = lanes.tables
    busy_ms = np.maximum(tables.period_s * 1e3, tables.latency_ms[:, 0])
    active_mw = tables.energy_uj[:, 0] / tables.latency_ms[:, 0]
    added_mw = tables.seed_latency_ms * (active_mw / busy_ms)[:, None]
    return states, tuple(
        Device(state=states.state(lane), seed_power_mw=tuple(added_mw[lane].tolist())) for lane in range(count)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSamples:
    """N devices with what the oracle would switch on. ``present``: (N, slots), slots that hold a seed at all."""

    observation: NDArray[np.float32]
    gates: NDArray[np.bool_]
    present: NDArray[np.bool_]
    devices: tuple[Device, ...]


def simulate(count: int, slots: int, *, seed: int) -> RunningSamples:
    """Have devices meet something, and say what the oracle would switch on."""
    states, devices = met(count, slots, seed=seed)
    return RunningSamples(
        observation=states.matrix(),
        gates=best_gates(devices),
        present=states.present,
        devices=devices,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How proposals compare with the oracle on devices it was not taught on. All shares in 0..1.

    ``gates``: share of present seeds set as the oracle sets them; ``exact``: share of devices with the very same
    configuration; ``feasible``: share whose proposal keeps deadline and bucket, among those where some configuration
    does; ``regret``: mean accuracy lost to the oracle where the proposal is feasible.
    """

    gates: float
    exact: float
    feasible: float
    regret: float


def agreement(samples: RunningSamples, proposed: NDArray[np.bool_]) -> Agreement:
    """Compare proposals, (N, slots) bool, with the oracle's."""
    proposed = proposed & samples.present
    same = proposed == samples.gates
    kept: list[bool] = []
    lost: list[float] = []
    for device, own, oracle in zip(samples.devices, proposed, samples.gates, strict=True):
        gates = tuple(bool(gate) for gate in own)
        if not feasible(device, tuple(bool(gate) for gate in oracle)):
            continue
        kept.append(feasible(device, gates, margin=0.0))
        if kept[-1]:
            gains = np.asarray(device.state.contributions)
            lost.append(float(gains[oracle].sum() - gains[own].sum()))
    return Agreement(
        gates=float(same[samples.present].mean()),
        exact=float((same | ~samples.present).all(axis=1).mean()),
        feasible=float(np.mean(kept)) if kept else 1.0,
        regret=float(np.mean(lost)) if lost else 0.0,
    )
