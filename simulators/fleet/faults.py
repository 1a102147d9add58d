"""Faults that change who sends and who hears: brown-outs, gateways that are down, clocks that drift.

What a stuck sensor or a flipped bit does to a device's answers is seen where devices are run in detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simulators.fleet.scenario import FaultKind, Scenario
from simulators.fleet.timing import Drift, active_s
from simulators.lorawan.reception import Bools
from simulators.lorawan.streams import Floats, Ints, Purpose, uniforms


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFaults:
    """Of some devices: ``silences`` (who, (devices,), from, to), ``outages`` (gateway, from, to), and clocks."""

    silences: tuple[tuple[Bools, float, float], ...] = ()
    outages: tuple[tuple[int, float, float], ...] = ()
    drifts: tuple[Drift, ...] = ()

    def silent(self, device: Ints, when_s: Floats) -> Bools:
        """(packets,) whether a device has no power then."""
        silent = np.zeros(device.size, np.bool_)
        for who, since_s, until_s in self.silences:
            silent |= who[device] & (when_s >= since_s) & (when_s < until_s)
        return silent

    def powered_s(self, count: int, duration_s: float, active_h: tuple[float, float] | None = None) -> Floats:
        """(devices,) seconds with power within the run, and within hours of the day if given; times that two faults
        share count once."""
        edges = sorted(
            {0.0, duration_s, *(edge for _, *ends in self.silences for edge in ends if 0 < edge < duration_s)}
        )
        total = np.full(count, active_s(active_h, duration_s))
        for since_s, until_s in pairwise(edges):
            off = np.zeros(count, np.bool_)
            for who, begin_s, end_s in self.silences:
                if begin_s <= since_s and until_s <= end_s:
                    off |= who
            total -= (active_s(active_h, until_s) - active_s(active_h, since_s)) * off
        return total


def struck(scenario: Scenario, fault: int, numbers: Ints, group: Ints) -> Bools:
    """Whom a fault of the scenario befalls, (devices,); each device by its own draw."""
    one = scenario.faults[fault]
    drawn = uniforms(scenario.seed, Purpose.FAULT, numbers, fault)[0] < one.share
    if one.devices is not None:
        drawn &= group == [each.name for each in scenario.devices].index(one.devices)
    return drawn


def faults_of(scenario: Scenario, numbers: Ints, group: Ints) -> FieldFaults:
    """The faults of a scenario as they are for some of its devices."""
    silences, outages, drifts = [], [], []
    for number, fault in enumerate(scenario.faults):
        if fault.kind is FaultKind.GATEWAY_DOWN:
            outages.append((fault.gateway or 0, fault.start_s, fault.end_s))
            continue
        who = struck(scenario, number, numbers, group)
        if fault.kind is FaultKind.BROWN_OUT:
            silences.append((who, fault.start_s, fault.end_s))
        elif fault.kind is FaultKind.CLOCK_DRIFT:
            rate = np.where(who, (fault.drift_ppm or 0.0) * 1e-6, 0.0)
            drifts.append(Drift(rate=rate, start_s=fault.start_s, end_s=fault.end_s))
    return FieldFaults(silences=tuple(silences), outages=tuple(outages), drifts=tuple(drifts))
