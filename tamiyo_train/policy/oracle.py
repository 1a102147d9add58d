"""Simulated running devices, and the oracle that says which seeds each should run.

A device is drawn at random: seeds with costs and contributions, a deadline, a throttle, an energy bucket and its
income. The oracle tries every subset of the seeds and takes the most accurate that

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

from tamiyo_runtime.contracts.running import PROFILE_FEATURES, RunningState, running_vector

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


def draw(rng: np.random.Generator, slots: int, count: int) -> tuple[Device, ...]:
    """Random devices in random states; all numbers are drawn column by column, which is what makes it fast."""
    grid = (count, slots)
    present = rng.random(grid) < rng.choice([0.6, 0.9, 1.0], (count, 1))
    host_ms = 10 ** rng.uniform(-2, 1, count)
    seed_ms = np.where(present, host_ms[:, None] * 10 ** rng.uniform(-1.3, 0.5, grid), 0.0)
    gains = np.where(present, rng.gamma(1.0, 0.06, grid) * rng.choice([1, 1, 1, 1, -0.3], grid), 0.0)
    full_ms = host_ms + seed_ms.sum(1)
    on = present & (rng.random(grid) < 0.6)
    current_ms = host_ms + (seed_ms * on).sum(1)
    slowdown = np.choose(rng.integers(3, size=count), [1.0, rng.uniform(1, 1.5, count), rng.uniform(1.5, 4, count)])
    deadline = full_ms * slowdown * 2 ** rng.uniform(-2.5, 2, count)
    per_ms = 10 ** rng.uniform(0, 3, count)  # mW a ms of latency at the present sample rate
    income = full_ms * per_ms * slowdown * 2 ** rng.uniform(-2.5, 2, count)
    held, metered = rng.random(count) < 0.9, rng.random(count) < 0.85
    level = np.where(metered, rng.uniform(0, 1, count), 1.0)
    relative = np.where(present, 10 ** rng.uniform(-1.5, 1, grid), 0.0)
    relative_macs = relative * rng.uniform(0.5, 2, grid)
    accuracy = np.clip(rng.uniform(0.55, 0.9, count) + (gains * on).sum(1), 0, 1)
    link = rng.uniform(0, 1, count)
    profile = rng.uniform((3, 0, 1), (7, 3, 4), (count, len(PROFILE_FEATURES)))
    return tuple(
        Device(
            state=RunningState(
                present=tuple(present[i].tolist()),
                on=tuple(on[i].tolist()),
                contributions=tuple(gains[i].tolist()),
                relative_params=tuple(relative[i].tolist()),
                relative_macs=tuple(relative_macs[i].tolist()),
                seed_latency_ms=tuple(seed_ms[i].tolist()),
                host_latency_ms=float(host_ms[i]),
                full_latency_ms=float(full_ms[i]),
                current_latency_ms=float(current_ms[i]),
                deadline_ms=float(deadline[i]) if held[i] else None,
                slowdown=float(slowdown[i]),
                bucket_level=float(level[i]),
                power_budget_mw=float(income[i]) if metered[i] else None,
                host_power_mw=float(host_ms[i] * per_ms[i]),
                full_power_mw=float(full_ms[i] * per_ms[i]),
                link_level=float(link[i]),
                accuracy=float(accuracy[i]),
                profile=dict(zip(PROFILE_FEATURES, profile[i].tolist(), strict=True)),
            ),
            seed_power_mw=tuple((seed_ms[i] * per_ms[i]).tolist()),
        )
        for i in range(count)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSamples:
    """N devices with what the oracle would switch on. ``present``: (N, slots), slots that hold a seed at all."""

    observation: NDArray[np.float32]
    gates: NDArray[np.bool_]
    present: NDArray[np.bool_]
    devices: tuple[Device, ...]


def simulate(count: int, slots: int, *, seed: int) -> RunningSamples:
    """Draw devices and label them."""
    rng = np.random.default_rng(seed)
    devices = draw(rng, slots, count)
    return RunningSamples(
        observation=np.asarray([running_vector(device.state) for device in devices], dtype=np.float32),
        gates=best_gates(devices),
        present=np.asarray([device.state.present for device in devices], dtype=np.bool_),
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
