"""Faults by name: what stands behind ``--fault brown-out@10s+2s`` and behind the faults of a fleet's scenario.

    KIND[:WHAT][@START[+LENGTH]][?OPTION=NUMBER&...]        times as 90s, 5min, 2h, 1d; without a unit, seconds

Kinds are plug-ins: `faults` maps each to a function from an `Order` to a value that knows how to build itself into a
`Rig`. A fault without a length lasts to the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from simulators.faults.bits import BitFlips
from simulators.faults.clock import Drift
from simulators.faults.disturbed import SensorFault
from simulators.faults.outage import BOOT_S, Outage
from simulators.faults.rig import Fault, Rig
from simulators.faults.sensor import FAULTS as SENSOR_FAULTS
from simulators.options import number, parse_options
from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.registry import Registry

_SHAPE = re.compile(
    r"(?P<kind>[a-z][a-z0-9-]*)(?::(?P<what>[^@?]*))?(?:@(?P<start>[^+?]*)(?:\+(?P<length>[^?]*))?)?(?:\?(?P<query>.*))?"
)
_TIME = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)?")
_UNITS_S = {None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A fault as it was asked for; ``for_s`` infinite: to the end. ``at_s`` None: nobody said when."""

    kind: str
    what: str = ""
    at_s: float | None = None
    for_s: float = math.inf
    options: Mapping[str, float] = field(default_factory=dict)

    def only(self, *, what: bool = False, when: bool = True, options: tuple[str, ...] = ()) -> None:
        """Raise UsageError, or UnknownNameError for an option, for what this kind has no use for."""
        if self.what and not what:
            raise UsageError(f"{self.kind} takes no :{self.what}", hint=f"write {self.kind} by itself")
        if self.at_s is not None and not when:
            raise UsageError(f"{self.kind} holds from the start to the end", hint="leave out @START+LENGTH")
        for name in self.options:
            if name not in options:
                raise UnknownNameError(f"option of {self.kind}", name, options)


faults: Registry[Callable[[Order], Fault]] = Registry("faults")


@dataclass(frozen=True, slots=True, kw_only=True)
class _BrownOut:
    outage: Outage

    def built_into(self, rig: Rig) -> Rig:
        return replace(rig, outages=(*rig.outages, self.outage))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClockDrift:
    drift: Drift

    def built_into(self, rig: Rig) -> Rig:
        if rig.drift is not None:
            raise UsageError("a board has one clock, and it drifts already", hint="add the ppm up")
        return replace(rig, drift=self.drift)


@faults.register("brown-out")
def _brown_out(order: Order) -> Fault:
    """Off, and what was in memory is gone. ``boot_s``: from power to the first sample."""
    order.only(options=("boot_s",))
    if order.at_s is None or math.isinf(order.for_s):
        raise UsageError("a brown-out needs a start and a length", hint="as in brown-out@10s+2s")
    outage = Outage(at_s=order.at_s, for_s=order.for_s, boot_s=order.options.get("boot_s", BOOT_S))
    return _BrownOut(outage=outage)


@faults.register("clock-drift")
def _clock_drift(order: Order) -> Fault:
    """Fast by ``ppm``, and slower with the square of the distance of ``temperature_c`` from 25 C."""
    order.only(when=False, options=("ppm", "temperature_c"))
    if not order.options:
        raise UsageError("a clock drifts by how much?", hint="as in clock-drift?ppm=50, or ?temperature_c=-20")
    drift = Drift(ppm=order.options.get("ppm", 0.0), temperature_c=order.options.get("temperature_c"))
    return _ClockDrift(drift=drift)


@faults.register("sensor")
def _sensor(order: Order) -> Fault:
    """What `simulators.faults.sensor` lists, with '-' for blanks, and ``stuck``: the last sample again and again."""
    order.only(what=True)
    known = {name.replace(" ", "-").replace(",", ""): name for name in SENSOR_FAULTS} | {"stuck": "stuck"}
    if order.what not in known:
        raise UnknownNameError("sensor fault", order.what, known)
    return SensorFault(name=known[order.what], at_s=order.at_s or 0.0, for_s=order.for_s)


@faults.register("bit-flips")
def _bit_flips(order: Order) -> Fault:
    """``bits`` bits of the weights flipped, in the copy that is in memory."""
    order.only(when=False, options=("bits",))
    bits = order.options.get("bits", 1.0)
    if bits != int(bits) or bits < 1:
        raise UsageError(f"bit-flips?bits={bits:g} is no number of bits", hint="as in bit-flips?bits=16")
    return BitFlips(bits=int(bits))


def parse_order(text: str) -> Order:
    """Take a fault's text apart; raises UsageError."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--fault: {text!r} is no fault", hint="as in brown-out@10s+2s or clock-drift?ppm=50")
    where, example = f"--fault {text}", "clock-drift?ppm=50"
    options = parse_options(match["query"] or "", where=where)
    return Order(
        kind=match["kind"],
        what=match["what"] or "",
        at_s=None if match["start"] is None else _seconds(match["start"], text),
        for_s=math.inf if match["length"] is None else _seconds(match["length"], text),
        options={name: number(value, name, where=where, example=example) for name, value in options.items()},
    )


def make_fault(order: Order) -> Fault:
    """The fault that was asked for; raises UnknownNameError with near names, UsageError."""
    return faults.get(order.kind)(order)


def rig_of(texts: tuple[str, ...] | list[str]) -> Rig:
    """A rig with these faults in it; raises UnknownNameError, UsageError."""
    rig = Rig()
    for text in texts:
        try:
            rig = make_fault(parse_order(text)).built_into(rig)
        except SchemaError as exc:
            raise UsageError(f"--fault {text}: {exc.message}", hint="as in brown-out@10s+2s?boot_s=20") from exc
    return rig


def _seconds(text: str, where: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"--fault {where}: {text!r} is no time", hint="as in 90s, 5min, 2h or 1d")
    return float(match[1]) * _UNITS_S[match[2]]
