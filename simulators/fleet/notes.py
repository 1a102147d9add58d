"""What a run assumes or leaves out, in sentences: those that matter to its scenario."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.fleet.resolve import Resolved
from simulators.fleet.scenario import FaultKind
from simulators.lorawan.chips import Certainty, device_radios
from simulators.lorawan.scenario import Pattern

_UNSEEN = (FaultKind.SENSOR_STUCK, FaultKind.BIT_FLIPS)


def notes_on(resolved: Resolved) -> tuple[str, ...]:
    """Sentences for people, the most general first."""
    return tuple(dict.fromkeys(_notes(resolved)))


def _notes(resolved: Resolved) -> Iterator[str]:
    scenario = resolved.scenario
    yield "every figure is simulated: nothing was measured on air, on a board or on a battery"
    for field in resolved.lora:
        groups = [scenario.devices[number] for number in sorted(set(field.group.tolist()))]
        if field.other_capture is not None:
            yield f"{field.region.name}: no rule of capture was measured on air; two are given where a point apart"
        if field.region.dwell_s is not None:
            limit = f"{field.region.dwell_s * 1e3:g} ms"
            yield f"{field.region.name}: frames keep to {limit}; not using a channel twice in 20 s is left to the draw"
        if any(group.workload.pattern is Pattern.POISSON for group in groups):
            yield "poisson: two messages of a device within seconds overlap here; a real one would wait"
        for name in dict.fromkeys(group.radio for group in groups):
            if device_radios.get(name).sleep_ma.certainty is not Certainty.TABLE:
                yield f"currents of the {name.upper()} are in part from memory of its data sheet"
    if resolved.cellular:
        yield "cellular devices do not meet, and out of reach they give a message up at no cost"
    if any(group.macs is not None for group in scenario.devices):
        yield "inferences priced by macs and params are one convolution: what operators take besides is not in it"
    if any(group.battery is not None and group.battery.harvest_mw for group in scenario.devices):
        yield "harvest is an average: that it comes by day and is needed by night is not in battery_days"
    for fault in scenario.faults:
        if fault.start_s >= scenario.duration_s:
            yield f"{fault.kind} at {fault.at_h:g} h begins after the run, which is over at {24 * scenario.days:g} h"
    for kind in (fault.kind for fault in scenario.faults if fault.kind in _UNSEEN):
        yield f"{kind}: changes what devices say, not when they send; it is seen in devices run in detail"
