"""The terms of a plan: what is wanted, what there is to do it with, what comes out. Values only; `planning` decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from simulators.fleet.parts import Battery
from simulators.fleet.powering import battery_days, cell_of
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Estimate
from tamiyo_runtime.contracts.errors import SchemaError

SECONDS_A_DAY = 86_400.0
SECONDS_A_YEAR = 365.25 * SECONDS_A_DAY
MINUTE_S, HOUR_S = 60.0, 3600.0
_HALVINGS = 60
# fmt: off
INTERVALS_S = (
    *(1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0),
    *(MINUTE_S * count for count in (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45)),
    *(HOUR_S * count for count in (1, 1.5, 2, 3, 4, 6, 8, 12, 24)),
)
# fmt: on
"""Intervals that a plan may have: round ones, each at most twice the one before."""


class Cause(StrEnum):
    """What keeps an interval from being shorter, or a plan from being one."""

    ASKED = "what was asked for"
    DUTY_CYCLE = "duty cycle"
    DWELL = "dwell time"
    FAIR_USE = "fair use"
    RADIO = "a radio still busy with the report before"
    PAYLOAD = "size of the report"
    RANGE = "range"
    COLLISIONS = "collisions"
    BATTERY = "battery"
    POWER = "power budget"
    COMPUTE = "time that an inference takes"
    ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """What a plan has to meet. ``interval_s``: a report exactly so often, None: as often as can be.

    ``delivery``: share of the fleet's reports that arrive. ``accuracy``: of the configuration that runs.
    """

    years: float = 1.0
    delivery: float = 0.9
    interval_s: float | None = None
    accuracy: float = 0.0

    def __post_init__(self) -> None:
        _above("goals.years", self.years, "years")
        if not 0 <= self.delivery < 1:
            raise SchemaError("goals.delivery", f"{self.delivery} is not a share below 1", hint="as in 0.95")
        if not 0 <= self.accuracy <= 1:
            raise SchemaError("goals.accuracy", f"{self.accuracy} is not a share", hint="as in 0.95")
        if self.interval_s is not None:
            _above("goals.interval_s", self.interval_s, "s")
            if self.interval_s > INTERVALS_S[-1]:
                raise SchemaError("goals.interval_s", f"{self.interval_s:g} s is over a day", hint="86400 at most")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A subset of the seeds, as a bundle's manifest prices it. ``accuracy`` None: not known."""

    id: str
    accuracy: float | None
    latency_ms: Estimate
    energy_uj: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device has to live on and with.

    ``battery`` None: from the mains. ``base_mw``: of the board asleep, drawn whatever happens. ``configurations``:
    empty where nothing is inferred. ``inference_every_s`` None: one inference a report. ``budget``: its limits.
    """

    battery: Battery | None
    base_mw: float
    configurations: tuple[Configuration, ...] = ()
    inference_every_s: float | None = None
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if not 0 <= self.base_mw < math.inf:
            raise SchemaError("device.base_mw", f"{self.base_mw} mW is no power", hint="0 or more")
        if self.inference_every_s is not None:
            _above("device.inference_every_s", self.inference_every_s, "s")

    @property
    def battery_j(self) -> float:
        """Energy of a full battery, ``inf`` from the mains."""
        if self.battery is None:
            return math.inf
        model, volts = cell_of(self.battery)
        return model.capacity_mah * volts * 3.6

    def years(self, mean_mw: float) -> float:
        """How long the battery lasts at a mean power, by the model that fleets are simulated with."""
        if self.battery is None:
            return math.inf
        return float(battery_days(self.battery, np.array([mean_mw]))[0]) * SECONDS_A_DAY / SECONDS_A_YEAR

    def allowed_mw(self, years: float) -> float:
        """Mean power at which the battery lasts so long, by bisection; 0 where it never does."""
        if self.battery is None:
            return math.inf
        low_mw, high_mw = 0.0, 1.0
        while self.years(high_mw) >= years:
            high_mw *= 2
        for _ in range(_HALVINGS):
            middle_mw = (low_mw + high_mw) / 2
            low_mw, high_mw = (middle_mw, high_mw) if self.years(middle_mw) >= years else (low_mw, middle_mw)
        return low_mw


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The shortest interval that one cause leaves, in seconds."""

    cause: Cause
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A way, with a configuration where that matters, that no interval makes a plan of."""

    way: str
    cause: Cause
    why: str
    configuration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to send a report. ``share``: of the fleet that it is meant for. ``number``: by which the link knows it, a
    LoRa data rate or a rung of a cellular ladder; of a way that has several, the slowest.

    ``reach_m``: distance at which nine of ten places are covered; None where that is beyond the path-loss model.
    ``refused``: why it cannot be used at all; its figures are 0 then.
    """

    name: str
    number: int
    airtime_s: float
    report_mj: float
    limits: tuple[Limit, ...]
    reach_m: float | None
    share: float = 1.0
    refused: Refused | None = None

    @property
    def legal_s(self) -> float:
        """The shortest interval that the limits together leave."""
        return max((limit.interval_s for limit in self.limits), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Share of reports that arrive (simulated), and how far one more fleet may be off: 95 % of fleets are within.

    ``lost``: shares by cause. ``fleets`` and ``reports``: what was simulated for it; no fleet where the channels are so
    overloaded that the share is at most the one given, which is then a bound and has no error.
    """

    share: float
    error: float
    lost: Mapping[str, float]
    fleets: int
    reports: int

    @property
    def least(self) -> float:
        """The lower end; nothing where there is only a bound from above."""
        return max(0.0, self.share - self.error) if self.fleets else 0.0

    @property
    def out_of_range(self) -> float:
        """Share lost to distance, whatever the interval."""
        return self.lost.get(TOO_WEAK, 0.0)


TOO_WEAK = "too weak"
"""The cause of loss that sending less often does not mend, by the name that the engines have for it."""


class Link(Protocol):
    """A network that plans are made for."""

    name: str

    def ways(self) -> Sequence[Way]:
        """The ways to choose from."""

    def classes(self) -> Sequence[Way]:
        """What the network itself assigns to devices within a way; empty where there is no such thing."""

    def radio_mw(self, way: Way, interval_s: float) -> float:
        """Mean power of the radio with a report every ``interval_s``, its rest between them included."""

    def delivery(self, way: Way, interval_s: float) -> Delivery:
        """What arrives of reports every ``interval_s``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way, one interval, one configuration, and what comes of it (simulated, estimated).

    ``binding``: why it is not shorter, None where nothing forbids that. ``limits``: the shortest interval by each cause
    that was worked out; of collisions, one that is too short.
    """

    way: Way
    interval_s: float
    configuration: Configuration | None
    inference_every_s: float | None
    radio_mw: float
    inference_mw: float
    base_mw: float
    years: float
    delivery: Delivery
    binding: Cause | None
    limits: tuple[Limit, ...]

    @property
    def mean_mw(self) -> float:
        """All that is drawn, on average."""
        return self.radio_mw + self.inference_mw + self.base_mw

    @property
    def energy_j_a_day(self) -> float:
        """The same as energy."""
        return self.mean_mw * SECONDS_A_DAY * 1e-3

    @property
    def airtime_s_an_hour(self) -> float:
        """What reports take of the air on average."""
        return self.way.airtime_s * HOUR_S / self.interval_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """A goal that would have to give, by its name, to which value, and the plan that then is there."""

    goal: str
    to: float
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What a configuration asks of a device that reports as planned. ``every_s`` None: never within the goals."""

    configuration: Configuration
    limits: tuple[Limit, ...]
    every_s: float | None
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """The answer: the plan to take, others that are better in something, what is out and why.

    ``recommended`` None: no plan meets the goals, and ``nearest`` says what would have to give. ``shortest``: each
    way's own plan, with the recommended configuration. ``others``: plans that no other beats in interval, life and
    delivery.
    """

    goals: Goals
    device: Device
    ways: tuple[Way, ...]
    classes: tuple[Way, ...]
    shortest: tuple[Plan, ...]
    recommended: Plan | None
    others: tuple[Plan, ...]
    refused: tuple[Refused, ...]
    inferences: tuple[Inference, ...] = ()
    nearest: tuple[Nearest, ...] = field(default_factory=tuple)


def _above(name: str, value: float, unit: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise SchemaError(name, f"{value} {unit} is not above 0", hint="a finite number above 0")
